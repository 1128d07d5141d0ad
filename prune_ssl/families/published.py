"""The shapes of published checkpoints, by the names that people know them by."""

_LARGE: dict[str, object] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
_X_LARGE: dict[str, object] = _LARGE | {
    "hidden_size": 1280,
    "num_hidden_layers": 48,
    "intermediate_size": 5120,
}

ARCHITECTURES: dict[str, tuple[str, dict[str, object]]] = {
    "wav2vec2-base": ("wav2vec2", {}),
    "wav2vec2-large": ("wav2vec2", _LARGE | {"conv_bias": True}),
    "xls-r-300m": ("wav2vec2", _LARGE | {"conv_bias": True}),
    "xls-r-1b": ("wav2vec2", _X_LARGE | {"conv_bias": True}),
    "hubert-base": ("hubert", {}),
    "hubert-large": ("hubert", _LARGE | {"conv_bias": True}),
    "hubert-xlarge": ("hubert", _X_LARGE | {"conv_bias": True}),
    "wavlm-base": ("wavlm", {}),
    "wavlm-large": ("wavlm", _LARGE),
    "data2vec-audio-base": ("data2vec-audio", {}),
    "unispeech-sat-base": ("unispeech-sat", {}),
}
"""Name after `arch:` -> transformers model type, and where its shape departs from that type's defaults."""
