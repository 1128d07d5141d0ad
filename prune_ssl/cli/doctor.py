"""prune-ssl doctor: does this environment work, and if not, what to install."""

import importlib.metadata
import re
from typing import Annotated

import typer
from rich.table import Table

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.data import check_folder

PACKAGES = (
    *("torch", "torchaudio", "transformers", "torch-pruning", "datasets", "evaluate", "accelerate"),
    *("safetensors", "soundfile", "numpy", "pydantic"),
)


@one_line_errors
def doctor(
    data: Annotated[str | None, typer.Option(help="Also check this audio folder.")] = None,
) -> None:
    """Check the installed packages (and an audio folder), and say what to do about what is wrong."""
    table = Table(title="Environment")
    table.add_column("package")
    table.add_column("version")
    found = {name: _version(name) for name in PACKAGES}
    for name, version in found.items():
        table.add_row(name, version or "missing")
    out.print(table)
    problems = [
        f"{name} is missing: pip install {name}" for name, version in found.items() if version is None
    ]
    problems += _mismatch(found["torch"], found["torchaudio"])
    for problem in problems:
        say(f"problem: {problem}")
    if data is not None:
        clips = check_folder(data)
        counts = ", ".join(f"{len(each)} {split}" for split, each in clips.splits.items())
        say(f"{data}: {counts} clips, all readable")
        for note in clips.notes:
            say(f"  note: {note}")
    if problems:
        raise typer.Exit(1)
    say("All is well.")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _mismatch(torch_version: str | None, torchaudio_version: str | None) -> list[str]:
    """Say when torchaudio was built for another torch: it refuses to import, and transformers with it."""
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
