"""Time and peak memory of loading pruned folders, as ratios to the dense folder.

    python benchmarks/loading.py --out out/loading

The models have the widths of wav2vec2-base and random weights. All folders are loaded in turns in one
process, and the median of the processor's times counts, so that other programs on the machine change
little. The share of the seals is the time of one more pass over the bytes of the file. docs/loading.md
has the table.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCTC, Wav2Vec2Config, Wav2Vec2ForCTC

from prune_ssl import load_pretrained, resize, save_pretrained, select, trace
from prune_ssl.cli.console import quiet_libraries
from prune_ssl.models.seals import require_unbroken

SHARES = (100, 75, 50, 25)
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
START = """# Loading a pruned folder

Made by `python benchmarks/loading.py` on models with the widths of wav2vec2-base and random weights, in
float32, one process and one thread, in turns. Medians of {repeats} loads in processor time, after one
that does not count. Ratios are to the dense folder that `AutoModelForCTC.from_pretrained` loads. The
peak is the growth of the process's resident memory while it loads. Pages of the file that are mapped
count.

| MACs kept | file | transformers | prune_ssl | of that, seals | peak, transformers | peak, prune_ssl |
|---|---|---|---|---|---|---|
"""
END = """
`load_pretrained` compares the file with its seal (SHA-256) and the config with the headers before any
weight is allocated. A folder without a seal is loaded without the first. The Auto class of transformers
checks neither.
"""


def folders(out: Path) -> dict[int, Path]:
    """Write the dense model and cut ones, each once."""
    made = {share: out / f"macs-{share}" for share in SHARES}
    if all(folder.is_dir() for folder in made.values()):
        return made
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config()).eval()
    graph = trace(model)
    for share, folder in made.items():
        keep = select(model, graph, f"macs={share}%", "random") if share < 100 else {}
        save_pretrained(resize(model, graph, keep) if keep else model, folder, overwrite=True)
    return made


def growth_while(run: Callable[[], object]) -> float:
    """Return the growth of the resident memory while a function runs, in MB."""
    gc.collect()
    CLEAR.write_text("5")
    before = _status("VmRSS")
    kept = run()
    del kept
    return (_status("VmHWM") - before) / 1e6


def _status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def busy_while(run: Callable[[], object]) -> float:
    """Return the processor time of a function, in seconds."""
    gc.collect()
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/loading"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    made = folders(options.out)
    ways: dict[str, Callable[[Path], object]] = {
        "transformers": AutoModelForCTC.from_pretrained,
        "prune_ssl": load_pretrained,
        "seals": lambda folder: require_unbroken(folder, [folder / "model.safetensors"]),
    }
    times: dict[tuple[int, str], list[float]] = {(share, way): [] for share in made for way in ways}
    for turn in range(options.repeats + 1):
        for (share, way), found in times.items():
            seconds = busy_while(lambda share=share, way=way: ways[way](made[share]))
            if turn:
                found.append(seconds)
    base = statistics.median(times[100, "transformers"])
    peaks = {
        (share, way): growth_while(lambda share=share, way=way: ways[way](made[share]))
        for share in made
        for way in ("transformers", "prune_ssl")
    }
    lines = []
    for share, folder in made.items():
        theirs, ours, seals = (statistics.median(times[share, way]) / base for way in ways)
        size = (folder / "model.safetensors").stat().st_size / 1e6
        memory = " | ".join(f"{peaks[share, way]:.0f} MB" for way in ("transformers", "prune_ssl"))
        name = "dense" if share == 100 else f"{share}%"
        lines.append(f"| {name} | {size:.0f} MB | {theirs:.2f} | {ours:.2f} | {seals:.2f} | {memory} |\n")
    page = START.format(repeats=options.repeats) + "".join(lines) + END
    (options.out / "loading.md").write_text(page)
    print(page)
    print(f"1.00 is {base:.2f} s of the processor")


if __name__ == "__main__":
    main()
