"""wav2vec 2.0 (Baevski et al., NeurIPS 2020); also XLSR, XLS-R and MMS."""

from prune_ssl.families.family import HEAD_READERS, Family

WAV2VEC2 = Family(
    name="wav2vec2",
    library="transformers",
    stem="Wav2Vec2",
    head_readers=(*HEAD_READERS, ("ForPreTraining", "project_hid")),
    last_conv_readers=("quantizer.weight_proj",),
)
