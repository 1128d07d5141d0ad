"""WavLM (Chen et al., JSTSP 2022): its layers share one gated table of relative positions."""

from prune_ssl.families.family import AttentionRoles, Family

WAVLM = Family(
    name="wavlm",
    library="transformers",
    stem="WavLM",
    attention=AttentionRoles(
        per_head=(("gru_rel_pos_const", 1),),
        by_slices="gru_rel_pos_linear",
        style="position bias",
        positions=True,
    ),
    layers_return_bias=True,
)
