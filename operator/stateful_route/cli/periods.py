"""Options that are a number of seconds."""

import typer

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.option_checks import check_period


def period(seconds: float) -> float:
    """The number of an option, once it is known that so long can be waited; the ``callback`` of that option.

    ``min`` and ``max`` let nan pass, which is neither less nor more than any number; inf passes where there is no max.

    Raises:
        typer.BadParameter: nobody can wait for so long.
    """
    try:
        check_period(seconds, "it")
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from None
    return seconds
