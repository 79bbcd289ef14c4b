# Generated from sockets.py by tools/twins.py: change that one, then run: make twins
"""Connections that tell of an error whether a command had gone out: before that, nothing can have been written."""

from functools import cache
from typing import Any

from stateful_route.store.sockets import nothing_sent


@cache
def telling(base: Any) -> type:
    """The class of redis-py's connections that also marks the errors of connecting and of health checks."""
    return type(f"Telling{base.__name__}", (_Telling, base), {})


class _Telling:
    def connect_check_health(self, *args: Any, **options: Any) -> None:
        with nothing_sent():
            super().connect_check_health(*args, **options)  # type: ignore[misc]

    def check_health(self) -> None:
        with nothing_sent():
            super().check_health()  # type: ignore[misc]
