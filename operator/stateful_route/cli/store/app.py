"""The commands, and what their help says together."""

import typer

from stateful_route.cli.help import flowing
from stateful_route.cli.store.look import links, pods
from stateful_route.cli.store.mend import rebuild, repair
from stateful_route.cli.store.own import adopt
from stateful_route.cli.store.transfer import export, import_

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Looks into the store and mends it: for the person on call; needs the store alone, no Kubernetes.\n\n"
    "Answers go to stdout, all else to stderr. Exit codes: 0 done (an empty answer is one), 1 the store refused or is "
    "away, 2 a wrong argument or file, 130 interrupted.",
)
app.command(help=flowing(links.__doc__))(links)
app.command(help=flowing(pods.__doc__))(pods)
app.command(help=flowing(repair.__doc__))(repair)
app.command(help=flowing(rebuild.__doc__))(rebuild)
app.command(help=flowing(adopt.__doc__))(adopt)
app.command(help=flowing(export.__doc__))(export)
app.command("import", help=flowing(import_.__doc__))(import_)
