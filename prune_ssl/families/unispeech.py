"""UniSpeech (Wang et al., ICML 2021) and UniSpeech-SAT (Chen et al., ICASSP 2022)."""

from prune_ssl.families.family import Family

UNISPEECH = Family(
    name="unispeech",
    library="transformers",
    stem="UniSpeech",
    last_conv_readers=("quantizer.weight_proj",),
)
UNISPEECH_SAT = Family(name="unispeech-sat", library="transformers", stem="UniSpeechSat")
