"""The command line without a process of its own."""

from typer.testing import CliRunner

from prune_ssl.cli.app import app


def run_cli(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def status_and_output(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output
