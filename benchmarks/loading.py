"""Time and peak memory of loading pruned folders, with prune_ssl and without, as ratios to the dense folder.

    python benchmarks/loading.py --page docs/loading.md

The models have the widths of wav2vec2-base and wav2vec2-large and random weights. Two new processes load
them: one with prune_ssl, and one in which it cannot be imported. Each loads all folders of a size in turns,
and the dense one too, so that other programs on the machine change little. Times are of the processor. A
loaded model hears a quarter of a second, because files are mapped: a weight that no one has used is not in
memory yet. The share of the seals is the time of one more pass over the bytes of the file. The folders stay
in --out for the next call.
"""

import argparse
import datetime
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SHARES = {"base": (100, 75, 50, 25), "large": (100, 50, 25)}
WIDTHS: dict[str, dict[str, object]] = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "conv_bias": True,
        "do_stable_layer_norm": True,
    },
}
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
BEGIN, END = "<!-- figures: written by benchmarks/loading.py -->", "<!-- end of the figures -->"
TEXT = """
Made by `{command}`
on {date} with torch {torch} and transformers {transformers}: float32, one thread, medians of {repeats} loads
in processor time, after one that does not count. A load ends when the model has heard a quarter of a second,
because files are mapped, and a weight that nothing has used is not in memory yet. 1.00 is the dense folder of
that size, loaded by `AutoModelForCTC.from_pretrained` in the same process ({seconds}).
The peak is the growth of the process's resident memory; mapped pages of the file count.

| model | MACs kept | file | without prune_ssl | peak | `load_pretrained` | of that, seals | peak |
|---|---|---|---|---|---|---|---|
{rows}

**Without prune_ssl** is the Auto class with `trust_remote_code=True`; the dense folder needs no code.
`load_pretrained` compares the file with its seal (SHA-256) and the config with the headers before any
weight is allocated. A folder without a seal is loaded without the first. The Auto class of transformers
checks neither.
"""


def folders(out: Path, size: str) -> dict[int, Path]:
    """Write the dense model and cut ones, each once."""
    made = {share: out / f"{size}-macs-{share}" for share in SHARES[size]}
    if all(folder.is_dir() for folder in made.values()):
        return made
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    from prune_ssl import resize, save_pretrained, select, trace

    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**WIDTHS[size])).eval()
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


def ways_of(with_prune_ssl: bool) -> dict[str, Callable[[Path], object]]:
    """Return the ways to load a folder in this process."""
    if not with_prune_ssl:
        sys.modules["prune_ssl"] = None  # type: ignore[assignment]  # as where it is not installed
    import torch
    from transformers import AutoModelForCTC
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def used(model: torch.nn.Module) -> None:
        with torch.no_grad():
            model.eval()(torch.ones(1, 4000))

    if not with_prune_ssl:
        return {"auto": lambda folder: used(AutoModelForCTC.from_pretrained(folder, trust_remote_code=True))}
    from prune_ssl import load_pretrained
    from prune_ssl.models.seals import require_unbroken

    return {
        "auto": lambda folder: used(AutoModelForCTC.from_pretrained(folder)),
        "load": lambda folder: used(load_pretrained(folder)),
        "seals": lambda folder: require_unbroken(folder, [folder / "model.safetensors"]),
    }


def measured(way: str, places: list[Path], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Return the median seconds and the peaks in MB of each folder, by the ways of this process."""
    ways = ways_of(way == "with")
    times: dict[tuple[str, int], list[float]] = {(name, i): [] for name in ways for i in range(len(places))}
    for turn in range(repeats + 1):
        for (name, i), found in times.items():
            seconds = busy_while(lambda name=name, i=i: ways[name](places[i]))
            if turn:
                found.append(seconds)
    peaks = {key: growth_while(lambda key=key: ways[key[0]](places[key[1]])) for key in times}
    return {
        name: [
            {"seconds": statistics.median(times[name, i]), "peak": peaks[name, i]} for i in range(len(places))
        ]
        for name in ways
    }


def in_a_new_process(way: str, places: list[Path], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Return what `measured` finds in a process of its own."""
    command = [sys.executable, __file__, "--measure", way, "--repeats", str(repeats), *map(str, places)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, list[dict[str, float]]] = json.loads(run.stdout.splitlines()[-1])
    return found


def rows_of(size: str, made: dict[int, Path], repeats: int) -> tuple[list[str], float]:
    """Return the rows of a size, and the seconds that are 1.00 in them."""
    places = list(made.values())
    alone, ours = (in_a_new_process(way, places, repeats) for way in ("without", "with"))
    bases = [found["auto"][0]["seconds"] for found in (alone, ours)]
    rows = []
    for i, (share, folder) in enumerate(made.items()):
        auto, load, seals = alone["auto"][i], ours["load"][i], ours["seals"][i]
        bytes_of = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        cells = [
            f"wav2vec2-{size}",
            "dense" if share == 100 else f"{share}%",
            f"{bytes_of / 1e6:.0f} MB",
            f"{auto['seconds'] / bases[0]:.2f}",
            f"{auto['peak']:.0f} MB",
            f"{load['seconds'] / bases[1]:.2f}",
            f"{seals['seconds'] / bases[1]:.2f}",
            f"{load['peak']:.0f} MB",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows, statistics.mean(bases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="*", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=("with", "without"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("out/loading"))
    parser.add_argument("--sizes", nargs="+", choices=tuple(WIDTHS), default=list(WIDTHS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--page", type=Path, help="write the figures between the marks of this page")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure, options.places, options.repeats)))
        return
    rows, bases = [], []
    for size in options.sizes:
        found, base = rows_of(size, folders(options.out, size), options.repeats)
        rows += found
        bases.append(f"{base:.2f} s of the processor, {size}")
        print("\n".join(found), bases[-1], flush=True)
    import torch
    import transformers

    text = TEXT.format(
        command=f"python benchmarks/loading.py --repeats {options.repeats} --page docs/loading.md",
        date=datetime.datetime.now(tz=datetime.timezone.utc).date(),
        torch=torch.__version__.partition("+")[0],
        transformers=transformers.__version__,
        repeats=options.repeats,
        seconds="; ".join(bases),
        rows="\n".join(rows),
    )
    if options.page is not None:
        before, _, rest = options.page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        options.page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
