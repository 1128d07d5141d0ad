"""Tracing: a model becomes pure data, its groups of coupled units and the cost of any keep."""

from prune_ssl.tracing.cost import Clock, Cost, CostTerm, SectionCost
from prune_ssl.tracing.example import Example
from prune_ssl.tracing.graph import Group, ParameterSlice, PruningGraph
from prune_ssl.tracing.superb import SUPERB_LENGTHS, fairseq_term, superb_macs
from prune_ssl.tracing.traced import Source, Traced
from prune_ssl.tracing.tracer import trace

__all__ = [
    "SUPERB_LENGTHS",
    "Clock",
    "Cost",
    "CostTerm",
    "Example",
    "Group",
    "ParameterSlice",
    "PruningGraph",
    "SectionCost",
    "Source",
    "Traced",
    "fairseq_term",
    "superb_macs",
    "trace",
]
