"""The settings of a model in the words of torchaudio, and their translation to a config of transformers.

DPHuBERT and DiariZen save the arguments of their model factory, with one number per layer where layers
differ.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prune_ssl.models.registry import PRUNED_PREFIX

Width = Annotated[int, Field(ge=0, le=1_000_000)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """The arguments of the model's factory that decide what the model computes."""

    model_config = ConfigDict(extra="ignore", strict=False, frozen=True, coerce_numbers_to_str=False)

    extractor_mode: Literal["group_norm", "layer_norm"]
    extractor_conv_layer_config: tuple[tuple[Size, Size, Size], ...] = Field(min_length=1, max_length=50)
    """Channels, kernel and stride of each convolution."""
    extractor_conv_bias: bool
    encoder_embed_dim: Size
    encoder_projection_dropout: Rate = 0.0
    encoder_pos_conv_kernel: Size
    encoder_pos_conv_groups: Size
    encoder_num_layers: Annotated[int, Field(ge=1, le=1_000)]
    encoder_use_attention: tuple[bool, ...]
    encoder_use_feed_forward: tuple[bool, ...]
    encoder_num_heads: tuple[Width, ...] | None = None
    """Heads of each layer, for wav2vec 2.0 and HuBERT."""
    encoder_head_dim: Size | None = None
    encoder_total_num_heads: tuple[Width, ...] | None = None
    """Heads of each layer before pruning, for WavLM."""
    encoder_remaining_heads: tuple[tuple[Width, ...], ...] | None = None
    """The kept heads of each layer, for WavLM."""
    encoder_num_buckets: Size = 320
    encoder_max_distance: Size = 800
    encoder_attention_dropout: Rate = 0.0
    encoder_ff_interm_features: tuple[Width, ...]
    encoder_ff_interm_dropout: Rate = 0.0
    encoder_dropout: Rate = 0.0
    encoder_layer_norm_first: bool
    encoder_layer_drop: Rate = 0.0
    aux_num_out: Size | None = None
    """Width of a CTC head."""
    normalize_waveform: bool = False
    leaves_bias: bool = False
    """Whether a block without units gives its bias, as prune_ssl leaves it, and not zeros."""

    @model_validator(mode="after")
    def _layers_agree(self) -> "Settings":
        """Refuse lists of different lengths, and a model that is of neither kind."""
        lists = {
            "encoder_use_attention": self.encoder_use_attention,
            "encoder_use_feed_forward": self.encoder_use_feed_forward,
            "encoder_ff_interm_features": self.encoder_ff_interm_features,
            "encoder_num_heads": self.encoder_num_heads,
            "encoder_total_num_heads": self.encoder_total_num_heads,
            "encoder_remaining_heads": self.encoder_remaining_heads,
        }
        for name, values in lists.items():
            if values is not None and len(values) != self.encoder_num_layers:
                raise ValueError(f"{name} has {len(values)} entries for {self.encoder_num_layers} layers")
        if self.is_wavlm:
            if self.encoder_total_num_heads is None:
                raise ValueError("encoder_remaining_heads is there, but encoder_total_num_heads is missing")
            for kept, every in zip(
                self.encoder_remaining_heads or (), self.encoder_total_num_heads, strict=True
            ):
                if len(set(kept)) < len(kept) or any(head >= every for head in kept):
                    raise ValueError(f"encoder_remaining_heads: {list(kept)} are not heads of {every}")
        elif self.encoder_num_heads is None or self.encoder_head_dim is None:
            raise ValueError("encoder_num_heads or encoder_head_dim is missing")
        if self.encoder_embed_dim % self.all_heads:
            raise ValueError(f"encoder_embed_dim {self.encoder_embed_dim} is not a multiple of its heads")
        return self

    @property
    def is_wavlm(self) -> bool:
        """Whether the attentions have WavLM's position bias."""
        return self.encoder_remaining_heads is not None

    @property
    def all_heads(self) -> int:
        """The number of heads of a layer before pruning."""
        if self.encoder_total_num_heads is not None and self.is_wavlm:
            return max(self.encoder_total_num_heads[0], 1)
        return max(self.encoder_embed_dim // (self.encoder_head_dim or self.encoder_embed_dim), 1)

    @property
    def is_whole(self) -> bool:
        """Whether all layers have all heads and the same width, as in a stock model."""
        widths = {self.width_of(layer) for layer in range(self.encoder_num_layers)}
        heads = {len(self.heads_of(layer)) for layer in range(self.encoder_num_layers)}
        return heads == {self.all_heads} and len(widths) == 1 and 0 not in widths

    def heads_of(self, layer: int) -> tuple[int, ...]:
        """Return the indices that a layer's heads had before pruning. A removed attention has none.

        If the checkpoint holds only a count, the indices are 0, 1, ... (Without a position bias the order of
        heads does not matter.)
        """
        if not self.encoder_use_attention[layer]:
            return ()
        if self.encoder_remaining_heads is not None:
            return self.encoder_remaining_heads[layer]
        return tuple(range((self.encoder_num_heads or ())[layer]))

    def width_of(self, layer: int) -> int:
        """Return the number of neurons of a layer's feed-forward block. A removed block has 0."""
        return self.encoder_ff_interm_features[layer] if self.encoder_use_feed_forward[layer] else 0

    def layer_sizes(self) -> dict[str, dict[str, object]]:
        """Return the field `pruned_layers` of the config of a pruned class.

        A whole layer needs no entry. Only in WavLM every layer has one, because its attentions share their
        position bias and must be of the same kind.
        """
        sizes: dict[str, dict[str, object]] = {}
        widest = max(self.encoder_ff_interm_features)
        for layer in range(self.encoder_num_layers):
            heads, width = self.heads_of(layer), self.width_of(layer)
            entry: dict[str, object] = {}
            if len(heads) < self.all_heads or self.is_wavlm:
                entry["num_attention_heads"] = len(heads)
                if heads and self.is_wavlm:
                    entry["heads"] = list(heads)
            if width < widest:
                entry["intermediate_size"] = width
            gone = [name for name, left in (("attention", heads), ("feed_forward", width)) if not left]
            if gone and not self.leaves_bias:
                entry["removed"] = gone
            if entry:
                sizes[str(layer)] = entry
        return sizes

    def config(self, family: str, scaled_frontend: bool) -> dict[str, object]:
        """Return the fields of the config.json of the same model.

        Args:
            family: `hubert`, `wav2vec2` or `wavlm`.
            scaled_frontend: Whether the weights include scales of the frontend's channels.
        """
        channels, kernels, strides = zip(*self.extractor_conv_layer_config, strict=True)
        head = "ForCTC" if self.aux_num_out is not None else "Model"
        stem = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}[family]
        fields: dict[str, object] = {
            "model_type": family,
            "architectures": [stem + head],
            "conv_dim": list(channels),
            "conv_kernel": list(kernels),
            "conv_stride": list(strides),
            "num_feat_extract_layers": len(channels),
            "conv_bias": self.extractor_conv_bias,
            "feat_extract_norm": self.extractor_mode.removesuffix("_norm"),
            "hidden_size": self.encoder_embed_dim,
            "num_hidden_layers": self.encoder_num_layers,
            "num_attention_heads": self.all_heads,
            "intermediate_size": max(self.encoder_ff_interm_features),
            "do_stable_layer_norm": self.encoder_layer_norm_first,
            "num_conv_pos_embeddings": self.encoder_pos_conv_kernel,
            "num_conv_pos_embedding_groups": self.encoder_pos_conv_groups,
            "hidden_dropout": self.encoder_dropout,
            "attention_dropout": self.encoder_attention_dropout,
            "activation_dropout": self.encoder_ff_interm_dropout,
            "feat_proj_dropout": self.encoder_projection_dropout,
            "layerdrop": self.encoder_layer_drop,
            "apply_spec_augment": False,
            "mask_time_prob": 0.0,
        }
        if self.is_wavlm:
            fields |= {
                "num_buckets": self.encoder_num_buckets,
                "max_bucket_distance": self.encoder_max_distance,
            }
        if self.aux_num_out is not None:
            fields["vocab_size"] = self.aux_num_out
        if not self.is_whole or scaled_frontend:
            fields |= {
                "model_type": PRUNED_PREFIX + family,
                "architectures": [f"Pruned{stem}{head}"],
                "pruned_layers": self.layer_sizes(),
                "scaled_frontend": scaled_frontend,
                "prune_format_version": 1,
            }
        return fields
