"""One line on stderr that says how far long work has come; on a terminal only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from stateful_route.cli.answers import (
    notes,
)

WAIT_SECONDS = 0.1
"""Between two looks of the line: a faster one cannot be read."""


class Progress:
    """Shows a text that changes often."""

    def __init__(self, status: Status | None) -> None:
        self._status = status
        self._next = 0.0

    def say(self, text: str) -> None:
        """Show this, unless something was shown a moment ago."""
        if self._status is not None and time.monotonic() >= self._next:
            self._status.update(text)
            self._next = time.monotonic() + WAIT_SECONDS


@contextmanager
def progress(text: str, console: Console | None = None) -> Iterator[Progress]:
    """A line that begins with the text and is gone at the end."""
    console = console or notes()
    if not console.is_terminal or console.is_dumb_terminal:
        yield Progress(None)
        return
    with console.status(text, spinner="line") as status:
        yield Progress(status)
