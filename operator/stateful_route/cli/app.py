"""The command line ``stateful-route``."""

import os
import shlex
import sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer

from stateful_route import __version__
from stateful_route.cli.demo.command import demo
from stateful_route.cli.departure import release_finalizers
from stateful_route.cli.help import flowing
from stateful_route.cli.inspect import commands
from stateful_route.cli.operator import operator
from stateful_route.cli.store import app as store

LOOK, ACT, RUN = "Look", "Act", "Run"
PROGRAM, PLUGIN = "stateful-route", "kubectl-stateful_route"
NO_FILES = 4
"""cobra's ShellCompDirectiveNoFileComp: no file names where there is no proposal."""

HELP = """\
Routes each user to the StatefulSet pod that holds its state, and moves users when pods drain or die.

Answers go to stdout, all else to stderr; colours only on a terminal, and not where NO_COLOR is set.

Exit codes: 0 done (an empty answer is one), 1 the store or the API server refused or is away, or the thing does not
exist, 2 a wrong argument, or an extra is missing, 3 no: not empty in time, or the doctor has found an error,
130 interrupted.
"""

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may be a password
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=LOOK, help=flowing(commands.status.__doc__))(commands.status)
app.command(rich_help_panel=LOOK, help=flowing(commands.where.__doc__))(commands.where)
app.command(rich_help_panel=LOOK, help=flowing(commands.links.__doc__))(commands.links)
app.command(rich_help_panel=LOOK, help=flowing(commands.events.__doc__))(commands.events)
app.command(rich_help_panel=LOOK, help=flowing(commands.doctor.__doc__))(commands.doctor)
app.command(rich_help_panel=ACT, help=flowing(commands.drain.__doc__))(commands.drain)
app.command(rich_help_panel=ACT, help=flowing(commands.undrain.__doc__))(commands.undrain)
app.command(rich_help_panel=ACT, help=flowing(commands.rebalance.__doc__))(commands.rebalance)
app.command(
    "wait-drained",
    rich_help_panel=ACT,
    help=flowing(commands.wait_drained.__doc__),
    add_help_option=False,  # its own parser has one
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)(commands.wait_drained)
app.command(rich_help_panel=RUN, help=flowing(operator.__doc__))(operator)
app.command(rich_help_panel=RUN, help=flowing(demo.__doc__))(demo)
app.command(rich_help_panel=RUN, help=flowing(release_finalizers.__doc__))(release_finalizers)
app.add_typer(store, name="store", rich_help_panel=RUN)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"stateful-route {__version__}")
        raise typer.Exit


@app.callback(help=flowing(HELP))
def main(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Do what all commands share."""


def name_of(program: str) -> str:
    """What the user has typed to run us: kubectl finds a plugin by the name of its file."""
    return "kubectl stateful-route" if Path(program).name == PLUGIN else PROGRAM


def run() -> int:
    """Run the command line with the process's arguments; its exit code."""
    return app(standalone_mode=True, prog_name=name_of(sys.argv[0])) or 0


def complete() -> int:
    """Complete the words of ``kubectl stateful-route …``: kubectl runs us by the name ``kubectl_complete-…``.

    One proposal a line, and then, as kubectl wants it, how the shell is to treat them.
    """
    *words, incomplete = sys.argv[1:] or [""]
    os.environ |= {  # as the script does that --show-completion bash prints
        "COMP_WORDS": shlex.join([PROGRAM, *words]) + f" {incomplete}",
        "COMP_CWORD": str(len(words) + 1),
        "_STATEFUL_ROUTE_COMPLETE": "complete_bash",
    }
    sys.argv = [PROGRAM]
    with suppress(SystemExit), redirect_stdout(StringIO()) as proposals:
        app(prog_name=PROGRAM)
    sys.stdout.write("".join(f"{line}\n" for line in proposals.getvalue().splitlines() if line))
    sys.stdout.write(f":{NO_FILES}\n")
    return 0
