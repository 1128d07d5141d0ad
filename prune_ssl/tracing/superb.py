"""The SUPERB challenge's way to state MACs: a sum over 32 utterances of given lengths."""

from prune_ssl.models.inputs import SAMPLE_RATE_HZ
from prune_ssl.tracing.graph import Keep, PruningGraph

# Samples of every 82nd LibriSpeech test-clean utterance by length, in the profiler's four groups of eight
# (methods 11.1; the SUPERB challenge's DeepSpeed profiler).
SUPERB_LENGTHS: tuple[tuple[int, ...], ...] = (
    (20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120),
    (59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520),
    (92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640),
    (154000, 166720, 180880, 197920, 217920, 239280, 268160, 326000),
)


def superb_macs(graph: PruningGraph, keep: Keep | None = None) -> tuple[int, tuple[int, ...]]:
    """Return the SUPERB sum of MACs and its four groups, without fairseq's extra attention term."""
    groups = tuple(
        sum(graph.cost(keep, samples / SAMPLE_RATE_HZ).macs for samples in lengths)
        for lengths in SUPERB_LENGTHS
    )
    return sum(groups), groups
