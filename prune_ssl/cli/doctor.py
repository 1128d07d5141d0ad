"""prune-ssl doctor: check the environment or a corpus, and say what to do about problems."""

import importlib.metadata
import re
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.options import number

PACKAGES = (
    *("torch", "torchaudio", "transformers", "torch-pruning", "datasets", "evaluate", "accelerate"),
    *("safetensors", "soundfile", "numpy", "pydantic"),
)


EXTRAS = {
    "ray": ("ray",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "lm": ("flashlight-text",),
}
"""Extra of prune_ssl -> its packages."""
MOST_LETTERS = 100
"""The number of characters of transcripts that are shown."""
HUB_SECONDS = 3.0
"""The longest wait for an answer of the hub."""

doctor_app = typer.Typer(help="Check the environment, or a corpus (doctor data FOLDER).")


@doctor_app.callback(invoke_without_command=True)
@one_line_errors
def doctor_command(context: typer.Context) -> None:
    """Check the installed packages, show the machine and the extras, and say how to mend problems."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Environment")
    table.add_column("package, part")
    table.add_column("version, state")
    found = {name: _version(name) for name in PACKAGES}
    for name, version in found.items():
        table.add_row(name, version or "missing")
    table.add_section()
    for name, state in machine().items():
        table.add_row(name, state)
    table.add_section()
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if _version(name) is None]
        # The brackets are no markup of rich.
        table.add_row(f"extra {extra}", Text(f"pip install 'prune_ssl[{extra}]'" if missing else "installed"))
    out.print(table)
    problems = [
        f"{name} is missing: pip install {name}" for name, version in found.items() if version is None
    ]
    problems += _mismatch(found["torch"], found["torchaudio"])
    for problem in problems:
        say(f"problem: {problem}")
    if problems:
        raise typer.Exit(1)
    say("All is well.")


def machine() -> dict[str, str]:
    """Return the state of the machine: Python, processor, threads, accelerator, free disk, and the hub."""
    import torch

    from prune_ssl.measuring.environment import describe_environment

    facts = describe_environment()
    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        accelerators.append("Apple GPU (mps)")
    return {
        "python": facts["python"],
        "processor": f"{facts.get('cpu', 'unknown')}; cores: {facts['cores']}, threads: {facts['threads']}",
        "accelerator": ", ".join(accelerators) or "none: training runs on the processor",
        "free disk here": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB",
        "hub": _hub(),
    }


def _hub() -> str:
    """Return whether models can be fetched by name."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "off (HF_HUB_OFFLINE): give folders of models"
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception as error:  # whatever the network does, it is a state to be shown
        return f"not reached ({type(error).__name__}): give folders of models"
    return f"reached, {constants.ENDPOINT}"


@doctor_app.command("data")
@one_line_errors
def doctor_data(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the corpus: audiofolder, JSONL, Kaldi, LibriSpeech, ...")
    ],
    min_seconds: Annotated[float, typer.Option(help="List shorter clips.", callback=number(0, 86_400))] = 0.1,
    max_seconds: Annotated[float, typer.Option(help="List longer clips.", callback=number(0, 86_400))] = 20.0,
    listed: Annotated[
        int, typer.Option(help="Name so many clips of each kind; the rest are counted.", min=0)
    ] = 10,
    outside: Annotated[bool, typer.Option(help="Also read files outside the folder.")] = False,
) -> None:
    """List broken, silent, clipped, loud, duplicated, short and long clips. Exit 1 if one is unusable."""
    from prune_ssl.data.files import LONGEST_PATH, shown
    from prune_ssl.data.surveys import KINDS, SurveyConfig, survey

    limits = SurveyConfig(min_seconds=min_seconds, max_seconds=max_seconds, outside=outside)
    found = survey(folder, limits)
    for split, count in found.counts.items():
        say(f"{split}: {count} clips, {found.seconds[split] / 60:.1f} minutes")
    say_contents(folder)
    for kind in KINDS:
        findings = found.of_kind(kind)
        say(f"{kind}: {len(findings)}")
        for finding in findings[:listed]:
            say(f"  {shown(finding.path, LONGEST_PATH)}: {finding.words}")
        if len(findings) > listed:
            say(f"  ... and {len(findings) - listed} more")
    for note in found.notes:
        say(f"note: {note}")
    if found.of_kind("broken") or found.of_kind("silent"):
        raise typer.Exit(1)
    say(f"next:   prune-ssl init --model MODEL --data {shlex.quote(str(folder))}    (writes a recipe)")


def say_contents(folder: Path) -> None:
    """Print the columns of a corpus, its sample rates, and the tasks that it can feed."""
    from prune_ssl.errors import DataError
    from prune_ssl.recipes.looking import look_at_corpus, shown_values

    try:
        corpus = look_at_corpus(folder)
    except DataError:  # no train split, or no clip that can be read: the survey names the clips
        return
    say(f"sample rates: {', '.join(f'{rate} Hz' for rate in corpus.rates)} (others than 16000 are resampled)")
    for column, values in corpus.values.items():
        say(f"column {column}: {shown_values(values)}")
        if column == corpus.column_of("ctc"):
            letters = "".join(sorted(set("".join(values))))
            more = "..." * (len(letters) > MOST_LETTERS)
            say(f"  its characters: {letters[:MOST_LETTERS]}{more}")
    say(f"it can feed: {', '.join(corpus.tasks)}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _mismatch(torch_version: str | None, torchaudio_version: str | None) -> list[str]:
    """Return a problem if torchaudio was built for another torch: then transformers cannot be imported."""
    if torch_version is None or torchaudio_version is None:
        return []
    releases = [re.match(r"\d+\.\d+", version) for version in (torch_version, torchaudio_version)]
    torch_release, audio_release = (match.group(0) if match else "" for match in releases)
    if torch_release == audio_release:
        return []
    return [
        f"torchaudio {torchaudio_version} was built for torch {audio_release}, found torch {torch_version}: "
        f'pip install "torch=={audio_release}.*" "torchaudio=={audio_release}.*"'
    ]
