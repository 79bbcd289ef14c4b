"""Packs commands in C where the package hiredis is installed: half the time of a long pipeline goes into packing."""

from collections.abc import Iterable
from functools import cache
from typing import Any

try:
    from hiredis import pack_command
except ImportError:  # pure Python serves, at half the speed
    pack_command = None  # type: ignore[assignment]

CHUNK_BYTES = 64 * 1024


@cache
def packing(base: Any) -> Any:
    """The class of redis-py's connections that packs in C, if that can be had."""
    return base if pack_command is None else type(f"Packing{base.__name__}", (_PackingInC, base), {})


class _PackingInC:
    """Overrides redis-py's two packing methods; what they give is the same, byte for byte."""

    def pack_command(self, *args: Any) -> list[bytes]:
        if isinstance(args[0], str) and " " in args[0]:
            args = (*args[0].split(), *args[1:])
        try:
            return [pack_command(args)]
        except (TypeError, UnicodeEncodeError):
            return [pack_command(tuple(map(_plain, args)))]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        chunks: list[bytes] = []
        pieces: list[bytes] = []
        size = 0
        for command in commands:
            piece = self.pack_command(*command)[0]
            pieces.append(piece)
            size += len(piece)
            if size > CHUNK_BYTES:
                chunks.append(b"".join(pieces))
                pieces, size = [], 0
        if pieces:
            chunks.append(b"".join(pieces))
        return chunks


def _plain(value: Any) -> Any:
    """What hiredis takes; a text of a foreign client may hold bytes that are no UTF-8."""
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    return value
