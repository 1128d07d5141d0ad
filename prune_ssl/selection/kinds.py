"""The kinds of units, which budgets and commands name."""

UNIT_KINDS = ("conv", "heads", "ffn")
"""The kinds that are pruned by default."""
KINDS = (*UNIT_KINDS, "hidden", "head_dim", "block", "layer")
ROUNDED_KINDS = ("conv", "ffn", "head_dim")
"""The kinds whose widths are rounded."""
