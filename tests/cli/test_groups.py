"""Groups of options: a dataclass in the place of one parameter per option."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from prune_ssl.cli.groups import with_groups


@dataclass(frozen=True)
class Size:
    """Two options."""

    width: Annotated[int, typer.Option(help="Of the box.", min=1)] = 3
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def test_every_field_is_an_option_and_the_command_gets_the_dataclass() -> None:
    app, seen = typer.Typer(), list[tuple[str, Size, bool]]()

    @app.command()
    @with_groups
    def act(place: str, *, size: Size, fast: bool = False) -> None:
        """Do it."""
        seen.append((place, size, fast))

    runner = CliRunner()
    assert runner.invoke(app, ["here"]).exit_code == 0
    assert (
        runner.invoke(app, ["there", "--width", "5", "--name", "a", "--name", "b", "--fast"]).exit_code == 0
    )
    assert seen == [("here", Size(), False), ("there", Size(5, ["a", "b"]), True)]
    shown = runner.invoke(app, ["--help"]).output
    assert "--width" in shown
    assert "Of the box." in shown
    assert "--size" not in shown
    assert runner.invoke(app, ["here", "--width", "0"]).exit_code == 2
