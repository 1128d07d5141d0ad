"""Functions of the tests in processes that train together, forked: what is imported is not imported again."""

import multiprocessing
import os
import socket
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState

NO_DROPOUT = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj", "final")}
PORT_IS_TAKEN = ("EADDRINUSE", "Address already in use")
LONGEST_SECONDS = 600


def start(main, world, *arguments):
    """Run `main(*arguments)` in `world` processes that know each other, to their end."""
    for _ in range(5):  # between our look and their start another program may take the port
        status, output = _run(main, world, arguments)
        if not any(words in output for words in PORT_IS_TAKEN):
            break
    assert status == 0, output[-3000:]


def _run(main, world, arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    ranks = [
        meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {} for rank in range(world)
    ]
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / str(rank) for rank in range(world)]
        processes = [
            fork.Process(target=_child, args=(main, arguments, environment, file))
            for environment, file in zip(ranks, said, strict=True)
        ]
        for process in processes:
            process.start()
        try:
            for process in processes:
                process.join(LONGEST_SECONDS)
        finally:
            for process in processes:
                process.kill()
                process.join()
        output = "\n".join(file.read_text(errors="replace") for file in said if file.exists())
    return max(abs(process.exitcode or 0) for process in processes), output


def _child(main, arguments, environment, said):
    """Forget what the parent trained and where it prints, and run."""
    file = os.open(said, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout = sys.stderr = os.fdopen(file, "w", buffering=1)
    os.environ.update(environment)
    warnings.resetwarnings()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    torch.set_num_threads(1)
    main(*arguments)
