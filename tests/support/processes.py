"""Scripts of the tests in processes that train together."""

import os
import socket
import subprocess
import sys

NO_DROPOUT = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj", "final")}


def start(script, world, *arguments):
    """Run a script of the tests in `world` processes that know each other, to their end."""
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
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs[0][-3000:]
