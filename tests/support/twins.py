"""The synchronous twins as asynchronous objects: the same test for both."""

import asyncio
import inspect
from typing import Any


class Threaded:
    """Calls the operations of a synchronous object in a thread where its asynchronous twin has coroutines."""

    def __init__(self, twin: object, of: type) -> None:
        self._twin = twin
        self._of = of

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._twin, name)
        if not inspect.iscoroutinefunction(getattr(self._of, name, None)):
            return found

        async def called(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(found, *args, **options)

        return called
