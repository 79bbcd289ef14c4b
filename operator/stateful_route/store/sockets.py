"""Connections that tell of an error whether a command had gone out: before that, nothing can have been written."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def nothing_sent() -> Iterator[None]:
    """Mark an error that is raised within: no command had gone out."""
    try:
        yield
    except Exception as error:
        error.nothing_sent = True  # type: ignore[attr-defined]
        raise


def was_sent(error: BaseException) -> bool:
    """False if it is certain that the failed command had not gone out."""
    return not getattr(error, "nothing_sent", False)


@cache
def telling(base: Any) -> type:
    """The class of redis-py's connections that also marks the errors of connecting and of health checks."""
    return type(f"Telling{base.__name__}", (_Telling, base), {})


class _Telling:
    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        with nothing_sent():
            await super().connect_check_health(*args, **options)  # type: ignore[misc]

    async def check_health(self) -> None:
        with nothing_sent():
            await super().check_health()  # type: ignore[misc]
