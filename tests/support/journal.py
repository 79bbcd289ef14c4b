"""What one process of a test with real processes did and saw: lines of JSON, with times that all processes share.

Each line is written at once, so that a process that is killed leaves all of them; ``at`` is CLOCK_MONOTONIC, which is
one clock for a machine. A script call has two lines, one before it is sent and one when it is answered: of a call whose
second line is missing it is not known what it did.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store import patience, patience_sync
from stateful_route.store.scripts import Call

BEGUN: ContextVar[float | None] = ContextVar("BEGUN", default=None)
"""When the request began for which scripts are called here, by a thread; None: no thread may have come in between."""


class Journal:
    """One process's part of the history.

    Attributes:
        context: Gives what is to be known of the process whenever it asks for a link to be computed.
    """

    def __init__(self, path: Path, **who: object) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._numbers = itertools.count()
        self.context: Callable[[], Mapping[str, object]] = dict
        self.note("process", **who)

    def note(self, kind: str, **facts: object) -> None:
        """Something has happened just now."""
        line = json.dumps({"k": kind, "at": time.monotonic(), **facts}, separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")

    def asks(self, call: Call) -> int:
        """A script is about to be called; the number of the call."""
        number, name = next(self._numbers), call.script.name
        more = {"begun": BEGUN.get(), **self.context()} if name == "statefulComputeLinkIfAbsent" else {}
        self.note("ask", n=number, s=name, a=call.args, **more)
        return number

    def told(self, number: int, reply: Any) -> None:
        """It was answered, or has failed."""
        if isinstance(reply, StatefulRouteError):
            self.note("told", n=number, e=type(reply).__name__, w=reply.maybe_written)
        else:
            self.note("told", n=number, r=_plain(reply))


class ObservedStore(patience.PatientStore):
    """A store that takes down every script call of the process."""

    journal: Journal

    async def run(self, call: Call) -> Any:
        number = self.journal.asks(call)
        try:
            reply = await super().run(call)
        except StatefulRouteError as error:
            self.journal.told(number, error)
            raise
        self.journal.told(number, reply)
        return reply

    async def run_each(self, calls: Any) -> list[Any]:
        numbers = [self.journal.asks(call) for call in calls]
        replies = await super().run_each(calls)
        for number, reply in zip(numbers, replies, strict=True):
            self.journal.told(number, reply)
        return replies


class ObservedSyncStore(patience_sync.PatientStore):
    """The same, for the synchronous drivers."""

    journal: Journal

    def run(self, call: Call) -> Any:
        number = self.journal.asks(call)
        try:
            reply = super().run(call)
        except StatefulRouteError as error:
            self.journal.told(number, error)
            raise
        self.journal.told(number, reply)
        return reply

    def run_each(self, calls: Any) -> list[Any]:
        numbers = [self.journal.asks(call) for call in calls]
        replies = super().run_each(calls)
        for number, reply in zip(numbers, replies, strict=True):
            self.journal.told(number, reply)
        return replies


def _plain(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode(errors="replace")
    if isinstance(reply, list):
        return [_plain(part) for part in reply]
    return reply
