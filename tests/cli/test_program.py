"""How the program ends: wrong uses, closed pipes and Ctrl-C are one line or none, with their status."""

import sys

import pytest
import typer

from prune_ssl.cli.program import Program
from tests.support.cli import run_cli

app = typer.Typer(cls=Program, no_args_is_help=True)


@app.command()
def work(how: str, count: int = 1) -> None:
    if how == "pipe":
        raise BrokenPipeError
    if how == "stop":
        raise KeyboardInterrupt
    if how == "abort":
        raise typer.Abort
    if how == "exit":
        raise typer.Exit(3)
    if how == "bad":
        raise typer.BadParameter("what?\nTwo lines?")
    print("done")


@app.command()
def other() -> None:
    """A second command, so that commands have names."""


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    command = typer.main.get_command(app)
    output = sys.stdout
    try:
        with pytest.raises(SystemExit) as caught:
            command.main(list(arguments), prog_name="prune-ssl")
    finally:
        sys.stdout = output
    found = capsys.readouterr()
    return caught.value.code, found.out, found.err


def test_work_that_is_done_ends_with_status_zero(capsys) -> None:
    assert ended(capsys, "work", "well") == (0, "done\n", "")


def test_a_status_of_its_own_is_kept(capsys) -> None:
    assert ended(capsys, "work", "exit") == (3, "", "")


def test_a_stopped_command_says_so(capsys) -> None:
    status, out, err = ended(capsys, "work", "abort")
    assert (status, out) == (130, "")
    assert err.splitlines() == ["stopped before it was done."]


def test_ctrl_c_has_its_status_and_no_traceback(capsys) -> None:
    status, out, err = ended(capsys, "work", "stop")
    assert (status, out) == (130, "")
    assert "Traceback" not in err


def test_a_reader_that_has_had_enough_is_no_error(capsys) -> None:
    assert ended(capsys, "work", "pipe") == (1, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("work", "bad"), "error: Invalid value: what? Two lines? See prune-ssl work --help."),
        (("work",), "Missing argument 'how'. See"),
        (("work", "x", "--count", "many"), "Invalid value for '--count'"),
        (("work", "x", "--wrong"), "No such option: --wrong"),
        (("wrok",), "No such command 'wrok'"),
    ],
)
def test_a_wrong_use_is_one_line_with_status_two(capsys, arguments: tuple[str, ...], words: str) -> None:
    status, out, err = ended(capsys, *arguments)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert words.split(" See")[0].lower() in err.lower()
    assert err.rstrip().endswith("--help.")


def test_without_arguments_the_help_comes(capsys) -> None:
    status, out, err = ended(capsys)
    assert status == 2
    assert "Usage: prune-ssl" in out + err


def test_a_caller_may_have_the_exception_itself() -> None:
    command = typer.main.get_command(app)
    with pytest.raises(typer.Abort):
        command.main(["work", "abort"], standalone_mode=False)


def test_a_command_that_is_an_option_of_the_program_is_said_to_be_one():
    result = run_cli("version")
    assert result.exit_code == 2
    assert "Did you mean --version?" in " ".join((result.output + result.stderr).split())


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_an_option_that_is_a_key_of_the_recipe_is_named_as_one(command) -> None:
    result = run_cli(command, "recipe.yaml", "--budget", "macs=40%")
    assert result.exit_code == 2
    assert "without dashes: pruning.budget=VALUE." in " ".join((result.output + result.stderr).split())
