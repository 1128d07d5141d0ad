"""What a report is told of a run: a hostile title, a history, results."""

HOSTILE = "<script>alert('x')</script> | *a* & \"b\""


HISTORY = [
    {
        "step": 10 * i,
        "expected": 1 - 0.05 * i,
        "target": 1 - 0.06 * i,
        "phase": "pruning",
        "keeps": {"conv": 0.9},
        "loss": 1.0,
    }
    for i in range(8)
] + [
    {"step": 5, "phase": "recovery", "loss": 0.5, "learning_rate": 1e-3},
    {"step": 9, "phase": "recovery", "loss": 0.25, "learning_rate": 5e-4},
]


RESULTS = {
    "dense": {"dense_accuracy": 0.974, "dense_loss": 0.1, "dense_runtime": 3.0},
    "cut": {"cut_accuracy": 0.4, "cut_loss": 2.0, "epoch": 1.0},
    "recovered": {"eval_accuracy": 0.969},
}
