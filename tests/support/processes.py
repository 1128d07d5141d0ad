"""Scripts of the tests in processes that train together."""

import os
import socket
import subprocess
import sys

NO_DROPOUT = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj", "final")}


PORT_IS_TAKEN = ("EADDRINUSE", "Address already in use")


def start(script, world, *arguments):
    """Run a script of the tests in `world` processes that know each other, to their end."""
    for _ in range(5):  # between our look and their start another program may take the port
        status, output = _run(script, world, arguments)
        if not any(words in output for words in PORT_IS_TAKEN):
            break
    assert status == 0, output[-3000:]


def _run(script, world, arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    ranks = [
        meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {} for rank in range(world)
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            env=os.environ | shared | rank,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ranks
    ]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return max(abs(process.returncode) for process in processes), outputs[0]
