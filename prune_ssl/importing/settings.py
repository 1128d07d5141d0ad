"""The settings in a DPHuBERT or DiariZen checkpoint, and the config of transformers that says the same.

The format is that of the model factories of both tools: one number for each layer where layers differ.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prune_ssl.models.registry import PRUNED_PREFIX

Width = Annotated[int, Field(ge=0, le=1_000_000)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """What the factory of the model was given, as far as it decides what the model computes."""

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
    """wav2vec 2.0 and HuBERT."""
    encoder_head_dim: Size | None = None
    encoder_total_num_heads: tuple[Width, ...] | None = None
    """WavLM."""
    encoder_remaining_heads: tuple[tuple[Width, ...], ...] | None = None
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

    @model_validator(mode="after")
    def _layers_agree(self) -> "Settings":
        """Refuse lists that are not of one length, and a model that is neither of the two kinds."""
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
        """Heads of a layer before pruning."""
        if self.encoder_total_num_heads is not None and self.is_wavlm:
            return max(self.encoder_total_num_heads[0], 1)
        return max(self.encoder_embed_dim // (self.encoder_head_dim or self.encoder_embed_dim), 1)

    @property
    def is_whole(self) -> bool:
        """Whether all layers have all heads and one width, as a stock model has."""
        widths = {self.width_of(layer) for layer in range(self.encoder_num_layers)}
        heads = {len(self.heads_of(layer)) for layer in range(self.encoder_num_layers)}
        return heads == {self.all_heads} and len(widths) == 1 and 0 not in widths

    def heads_of(self, layer: int) -> tuple[int, ...]:
        """Return the numbers that the heads of a layer had before pruning; none where its attention is gone.

        Where the checkpoint says a count only (no position bias tells heads apart), they are 0, 1, ...
        """
        if not self.encoder_use_attention[layer]:
            return ()
        if self.encoder_remaining_heads is not None:
            return self.encoder_remaining_heads[layer]
        return tuple(range((self.encoder_num_heads or ())[layer]))

    def width_of(self, layer: int) -> int:
        """Return the neurons of a layer's feed-forward block; 0 where it is gone."""
        return self.encoder_ff_interm_features[layer] if self.encoder_use_feed_forward[layer] else 0

    def layer_sizes(self) -> dict[str, dict[str, Any]]:
        """Return `pruned_layers` of our config, for a model of a pruned class.

        A layer that is whole needs no entry, but for those of WavLM, whose attentions share their position
        bias and are of one kind.
        """
        sizes: dict[str, dict[str, Any]] = {}
        widest = max(self.encoder_ff_interm_features)
        for layer in range(self.encoder_num_layers):
            heads, width = self.heads_of(layer), self.width_of(layer)
            entry: dict[str, Any] = {}
            if len(heads) < self.all_heads or self.is_wavlm:
                entry["num_attention_heads"] = len(heads)
                if heads and self.is_wavlm:
                    entry["heads"] = list(heads)
            if width < widest:
                entry["intermediate_size"] = width
            gone = [name for name, left in (("attention", heads), ("feed_forward", width)) if not left]
            if gone:
                entry["removed"] = gone
            if entry:
                sizes[str(layer)] = entry
        return sizes

    def config(self, family: str, scaled_frontend: bool) -> dict[str, Any]:
        """Return the fields of config.json that make the same model.

        Args:
            family: `hubert`, `wav2vec2` or `wavlm`.
            scaled_frontend: whether factors of the frontend's channels are among the weights.
        """
        channels, kernels, strides = zip(*self.extractor_conv_layer_config, strict=True)
        head = "ForCTC" if self.aux_num_out is not None else "Model"
        stem = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}[family]
        fields: dict[str, Any] = {
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
