"""Checks of options: their types and ranges, told with the option's name before anything is done with them."""

from typing import Any, TypeVar

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import shown

T = TypeVar("T")

LONGEST_SECONDS = 1_000_000
"""Some eleven days: no operating system's timer is sure to wait for much longer."""


def check_period(seconds: float, name: str) -> None:
    """See that something can be waited for so long.

    Raises:
        InvalidArgument: it is no number over 0 and up to `LONGEST_SECONDS`.
    """
    if not _is_number(seconds) or not 0 < seconds <= LONGEST_SECONDS:
        raise InvalidArgument(f"{name} is a number of seconds over 0, up to {LONGEST_SECONDS:,}, not {shown(seconds)}")


def check_limit(seconds: float, name: str) -> None:
    """See that something can be given so long at most; 0: no time at all.

    Raises:
        InvalidArgument: it is no number from 0 to `LONGEST_SECONDS`.
    """
    if not _is_number(seconds) or not 0 <= seconds <= LONGEST_SECONDS:
        raise InvalidArgument(f"{name} is a number of seconds from 0 to {LONGEST_SECONDS:,}, not {shown(seconds)}")


def check_age(seconds: float, name: str) -> None:
    """See that something can be used until it is so old; infinity: for ever.

    Raises:
        InvalidArgument: it is no number from 0.
    """
    if not _is_number(seconds) or not seconds >= 0:
        raise InvalidArgument(f"{name} is a number of seconds from 0, not {shown(seconds)}")


def check_rate(rate: float, name: str) -> None:
    """See that things can be done so often; infinity: without a limit.

    Raises:
        InvalidArgument: it is no number over 0.
    """
    if not _is_number(rate) or not rate > 0:
        raise InvalidArgument(f"{name} is a number over 0, not {shown(rate)}")


def check_count(count: int, name: str, least: int) -> None:
    """See that there can be so many.

    Raises:
        InvalidArgument: it is no integer, or less than the least.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise InvalidArgument(f"{name} is an integer from {least}, not {shown(count)}")


def check_kind(options: Any, kind: type[T], hint: str = "") -> None:
    """See that options are of a class, or of its twin of the same name; None passes: the defaults are meant.

    Args:
        options: What was given.
        kind: The class that is wanted.
        hint: What to write, where something else was given that is easily taken for it.

    Raises:
        InvalidArgument: they are of another class.
    """
    if options is not None and not isinstance(options, kind) and type(options).__name__ != kind.__name__:
        wanted = f"the options have to be {kind.__name__}, not {type(options).__name__}"
        raise InvalidArgument(f"{wanted}: {hint}" if hint else wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
