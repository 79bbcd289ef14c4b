"""A caller as a process, ``python -m support.active_caller <role>``: requests of all users, all the time."""

import asyncio
import json
import os
import signal
import time
from typing import Any

from stateful_route import StatefulRoute
from stateful_route.domain.errors import NoPodAvailable, StoreUnavailable
from stateful_route.drivers.cache import CacheOptions
from stateful_route.router.route import RouteOptions
from support.journal import Journal
from support.routed_service import REFRESH_SECONDS, SVC, Role, socket_of

ACTIVE_UIDS = [f"active-{number}" for number in range(24)]
PAUSE_SECONDS = 0.05
NICE = 3


class ActiveCaller:
    """One task for each user; each change has a name of its own, and is sent once."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._journal = Journal(role.journal, name=role.name)
        options = RouteOptions(store=role.store, cache=CacheOptions(refresh_seconds=REFRESH_SECONDS))
        self._route = StatefulRoute.connect(role.url, options)
        self._over = asyncio.Event()
        self._served: set[str] = set()
        self._lines: dict[tuple[str, int], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def run(self) -> None:
        """From start to SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._over.set)
        async with self._route, asyncio.TaskGroup() as group:
            await self._route.client.init(self._role.namespace, SVC)
            for uid in ACTIVE_UIDS:
                group.create_task(self._change_on(uid))
        self._journal.note("end")

    async def _change_on(self, uid: str) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            change, began = f"{self._role.name[-1]}.{number}", time.monotonic()
            answer, by = await self._change(uid, change)
            self._journal.note("change", uid=uid, change=change, began=began, answer=answer, by=by)
            if answer == "served":
                self._note_round(uid)
                await asyncio.sleep(self._role.pause_seconds)
            else:
                await asyncio.sleep(PAUSE_SECONDS)

    def _note_round(self, uid: str) -> None:
        self._served.add(uid)
        if len(self._served) == len(ACTIVE_UIDS):
            self._served.clear()
            self._journal.note("round")

    async def _change(self, uid: str, change: str) -> tuple[str, str | None]:
        """What came of one attempt; ``served``: by which process."""
        client, namespace = self._route.client, self._role.namespace
        try:
            pod = await client.compute_linked_pod(namespace, uid, SVC)
        except (NoPodAvailable, StoreUnavailable) as error:
            return type(error).__name__, None
        reply = await self._ask(pod, uid, change)
        if reply is None:
            client.cache_expired(namespace, uid, SVC)
            await client.report_unreachable(namespace, SVC, pod)
            return "unanswered", None
        if reply["answer"] == "wait":
            client.cache_expired(namespace, uid, SVC)
        elif reply["answer"] == "moved":
            client.report_misrouted(namespace, uid, SVC)
        return reply["answer"], reply.get("by")

    async def _ask(self, pod: int, uid: str, change: str) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(self._role.answer_seconds):
                if (uid, pod) in self._lines and self._lines[uid, pod][0].at_eof():
                    self._lines.pop((uid, pod))[1].close()  # the pod that has hung up may have a successor
                if (uid, pod) not in self._lines:
                    self._lines[uid, pod] = await asyncio.open_unix_connection(socket_of(self._role.folder, pod))
                reader, writer = self._lines[uid, pod]
                writer.write(json.dumps({"uid": uid, "change": change}).encode() + b"\n")
                if line := await reader.readline():
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        except (OSError, TimeoutError):
            pass
        if (line_to_pod := self._lines.pop((uid, pod), None)) is not None:
            line_to_pod[1].close()
        return None


if __name__ == "__main__":
    os.nice(NICE)
    asyncio.run(ActiveCaller(Role.mine()).run())
