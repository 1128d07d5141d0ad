"""A recipe's model that trains in moments."""

TINY_CONFIG = (
    "{conv_dim: [8, 8, 8, 8, 8, 8, 8], hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, "
    "intermediate_size: 24, num_conv_pos_embeddings: 4, num_conv_pos_embedding_groups: 2, layerdrop: 0.0, "
    "mask_time_prob: 0.0, classifier_proj_size: 8}"
)
