"""prune-ssl doctor: check the environment or a corpus, and say what to do about problems."""

import importlib.metadata
import re
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.options import number

PACKAGES = (
    *("torch", "torchaudio", "transformers", "torch-pruning", "datasets", "evaluate", "accelerate"),
    *("safetensors", "soundfile", "numpy", "pydantic"),
)


doctor_app = typer.Typer(help="Check the environment, or a corpus (doctor data FOLDER).")


@doctor_app.callback(invoke_without_command=True)
@one_line_errors
def doctor_command(context: typer.Context) -> None:
    """Check the installed packages, and say how to mend problems."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

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
