"""The Lua scripts of ``lua/``: loaded once per process, run by their hash, sent whole where a server has lost them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from stateful_route.resources import shipped

Argument = str | int | float | bytes


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its name, its text, and the hash by which EVALSHA finds it."""

    name: str
    source: str
    sha: str


class Call(NamedTuple):
    """A script with its keys (all that it touches, so that it runs on a Redis Cluster) and its arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Argument]


@cache
def script(name: str) -> Script:
    """The script ``lua/<name>.lua``.

    Raises:
        FileNotFoundError: the installation has no such script.
    """
    source = (shipped("lua") / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
