"""Notices that the API server's data were put back, as when etcd is restored from a backup."""

import asyncio


class Revisions:
    """How new what the API server has told of pods is: what is asked for later cannot be older.

    Resource versions of one kind are compared as numbers, as Kubernetes allows since 1.35. Watches go by them, too: one
    that goes on from a version that the API server does not have any more is not refused, and brings nothing.
    """

    def __init__(self) -> None:
        self.latest = 0
        """The latest version that a watch or a LIST of pods has brought; to be looked up before a LIST is sent."""
        self.put_back = asyncio.Event()
        """Something was older than it was known to be: all that is known may be wrong."""

    def seen(self, version: int) -> None:
        """A watch, or a LIST, has brought this version of a pod, or of the list itself."""
        self.latest = max(version, self.latest)

    def compare(self, version: int, before: int) -> None:
        """An answer has this version; ``before``: that which was known of the same thing when it was asked for."""
        if version < before:
            self.put_back.set()

    def forget(self) -> None:
        """Everything is read anew."""
        self.latest = 0
        self.put_back.clear()
