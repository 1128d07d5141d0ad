"""wav2vec 2.0: seven convolutions over samples, a projection, a positional convolution, post- or pre-norm."""

from prune_ssl.models.family import AttentionRoles, Classes, Family, FeedForwardRoles

HEAD_READERS = (
    ("ForCTC", "lm_head"),
    ("ForSequenceClassification", "projector"),
    ("ForAudioFrameClassification", "classifier"),
    ("ForXVector", "projector"),
)
LAST_CONV_READERS = ("quantizer.weight_proj",)
HEADS = (
    ("ForCTC", "AutoModelForCTC"),
    ("ForSequenceClassification", "AutoModelForAudioClassification"),
    ("ForAudioFrameClassification", "AutoModelForAudioFrameClassification"),
    ("ForXVector", "AutoModelForAudioXVector"),
    ("ForPreTraining", "AutoModelForPreTraining"),
)


def classes(stem: str, *others: str) -> Classes:
    """Return the classes named `stem`Config, `stem`Model, ... with the heads that all families have.

    Args:
        stem: start of the names.
        others: suffixes of further heads.
    """
    all_have = ("ForCTC", "ForSequenceClassification", "ForXVector")
    heads = tuple((stem + suffix, auto) for suffix, auto in HEADS if suffix in (*all_have, *others))
    return Classes(config=f"{stem}Config", bare=f"{stem}Model", heads=heads)


WAV2VEC2 = Family(
    name="wav2vec2",
    classes=classes("Wav2Vec2", "ForAudioFrameClassification", "ForPreTraining"),
    conv="feature_extractor.conv_layers.{i}.conv",
    projection="feature_projection.projection",
    layer="encoder.layers.{i}",
    attention=AttentionRoles(),
    ffns=(
        FeedForwardRoles(
            first="feed_forward.intermediate_dense",
            second="feed_forward.output_dense",
        ),
    ),
    bottlenecks=(("adapter_layer.linear_1", "adapter_layer.linear_2"),),
    position_convs="encoder.pos_conv_embed.conv",
    residual=("masked_spec_embed",),
    sections=(
        ("feature_extractor", "frontend"),
        ("feature_projection", "projection"),
        ("layer_norm", "projection"),
        ("masked_spec_embed", "projection"),
        ("encoder.pos_conv_embed", "position"),
        ("encoder.embed_positions", "position"),
        ("encoder", "encoder"),
        ("adapter", "head"),
    ),
    head_readers=(*HEAD_READERS, ("ForPreTraining", "project_hid")),
    last_conv_readers=LAST_CONV_READERS,
    adapter="adapter",
    lacks=(("add_adapter", "the adapter behind the encoder is tied to the residual's width"),),
)
