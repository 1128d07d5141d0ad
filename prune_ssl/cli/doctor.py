"""prune-ssl doctor: does this environment work, and is a corpus sound; if not, what to do."""

import importlib.metadata
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.options import number
from prune_ssl.data import SurveyConfig, survey
from prune_ssl.data.files import LONGEST_PATH, shown
from prune_ssl.data.surveys import KINDS

PACKAGES = (
    *("torch", "torchaudio", "transformers", "torch-pruning", "datasets", "evaluate", "accelerate"),
    *("safetensors", "soundfile", "numpy", "pydantic"),
)


doctor_app = typer.Typer(help="Is this environment, or this data, all right?")


@doctor_app.callback(invoke_without_command=True)
@one_line_errors
def doctor_command(context: typer.Context) -> None:
    """Check the installed packages, and say what to do about what is wrong."""
    if context.invoked_subcommand is not None:
        return
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
    if problems:
        raise typer.Exit(1)
    say("All is well.")


@doctor_app.command("data")
@one_line_errors
def doctor_data(
    folder: Annotated[
        Path, typer.Argument(help="Corpus: audiofolder, JSONL, Kaldi, LibriSpeech, SLURP, ...")
    ],
    min_seconds: Annotated[
        float, typer.Option(help="Shorter clips are listed.", callback=number(0, 86_400))
    ] = 0.1,
    max_seconds: Annotated[
        float, typer.Option(help="Longer clips are listed.", callback=number(0, 86_400))
    ] = 20.0,
    listed: Annotated[
        int, typer.Option(help="Clips to name of each kind; the rest are counted.", min=0)
    ] = 10,
    outside: Annotated[bool, typer.Option(help="Read files that lie outside of the folder too.")] = False,
) -> None:
    """List broken, silent, clipped, loud, duplicated, short and long clips; exit 1 if any is unusable."""
    limits = SurveyConfig(min_seconds=min_seconds, max_seconds=max_seconds, outside=outside)
    found = survey(folder, limits)
    for split, count in found.counts.items():
        say(f"{split}: {count} clips, {found.seconds[split] / 60:.1f} minutes")
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
