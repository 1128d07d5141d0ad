"""MACs as SUPERB sums them."""

from prune_ssl.tracing import superb_macs


def test_the_superb_sum_is_reproduced(base_graph):
    total, groups = superb_macs(base_graph)
    assert total == 1_665_522_780_160
    assert sum(groups) == total
