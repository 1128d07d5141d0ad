"""A model with gates."""

from prune_ssl import PruningConfig, attach_gates, trace

CONFIG = PruningConfig(budget="macs=50%", steps=100, round_to=1)


def gated(model, config=CONFIG):
    return attach_gates(model, trace(model), config)
