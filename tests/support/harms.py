"""Harm that a file can come to."""

FILES = (
    "complete.json",
    "gates.safetensors",
    "model.safetensors",
    "optimizer.pt",
    "pruning.json",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def missing(path):
    path.unlink()


def other(path):
    content = path.read_bytes()
    path.write_bytes(bytes(byte ^ 1 for byte in content[:50]) + content[50:])


def binary(path):
    path.write_bytes(bytes(range(256)) * 40)
