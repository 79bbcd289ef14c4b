"""A dictionary that holds so many entries and no more: what is kept by names that come from outside."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

NAMES = 1000
"""Of services, or of pods of services, about which something is remembered at most."""


class Bounded(OrderedDict[K, V]):
    """The entry that was written longest ago gives way to a new one."""

    def __init__(self, size: int = NAMES) -> None:
        """``size``: how many entries there are at most."""
        super().__init__()
        self._size = size

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self._size:
            self.popitem(last=False)
