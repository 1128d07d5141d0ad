"""data2vec's audio model (Baevski et al., ICML 2022): five positional convolutions."""

from prune_ssl.families.family import Family

DATA2VEC_AUDIO = Family(
    name="data2vec-audio",
    library="transformers",
    stem="Data2VecAudio",
    position_convs="encoder.pos_conv_embed.layers.{i}.conv",
)
