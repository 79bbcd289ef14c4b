"""The command line ``stateful-route``."""

from typing import Annotated

import typer

from stateful_route import __version__
from stateful_route.cli.demo.command import demo
from stateful_route.cli.operator import operator
from stateful_route.cli.store import app as store

app = typer.Typer(
    name="stateful-route",
    help="Routes each user to the StatefulSet pod that holds its state, and moves users when pods drain or die.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a password
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(operator)
app.command()(demo)
app.add_typer(store, name="store")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"stateful-route {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Routes each user to the StatefulSet pod that holds its state, and moves users when pods drain or die."""


def run() -> int:
    """Run the command line with the process's arguments; its exit code."""
    return app(standalone_mode=True) or 0
