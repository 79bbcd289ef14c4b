"""A routed pod whose users have changes in its memory: ``python -m support.active_pod <role>``.

It answers requests on a unix socket, one line of JSON each. ``{"uid": …, "change": …}``: ``served``, when the change is
in the memory; ``moved``; or ``wait``: the user is just being given away. ``{"tell": true}``: what is in memory of its
users.
"""

import asyncio
import contextlib
import json
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stateful_route import StatefulRoute, sync
from stateful_route.domain.errors import NotRunning, Replaced, StoreUnavailable
from stateful_route.drivers.cache import CacheOptions
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerHooks
from stateful_route.router.route import RouteOptions
from support.journal import Journal
from support.kept_versions import KeptVersions
from support.routed_service import REFRESH_SECONDS, SERVER, SVC, Role, socket_of

WORK_SECONDS = (0.02, 0.05)
"""From when a request is let in until its change is made."""

SAVE_SECONDS = (0.05, 0.2)
"""From when the changes are read until they are written."""

THREADS = 96
LONGEST_LINE = 1 << 24


def database_of(folder: str | Path) -> Path:
    """The file that all pods share."""
    return Path(folder) / "versions.sqlite"


@dataclass
class User:
    """In memory since an epoch."""

    epoch: int
    changes: list[str]
    saved: int
    saving: threading.Lock = field(default_factory=threading.Lock)


class Users:
    """What the pod has in memory; for any thread."""

    def __init__(self, database: KeptVersions, pod: str) -> None:
        self._database = database
        self._pod = pod
        self._users: dict[str, User] = {}
        self._lock = threading.Lock()

    def known(self, uid: str) -> User | None:
        """Who is in memory."""
        return self._users.get(uid)

    def load(self, uid: str, epoch: int) -> User | None:
        """From memory, else from the database; None: a later owner was there."""
        with self._lock:
            user = self._users.get(uid)
            if user is None and (changes := self._database.load(uid, epoch, self._pod)) is not None:
                user = self._users[uid] = User(epoch, changes, len(changes))
            return user

    def save(self, uid: str) -> None:
        """Write what is in memory, which takes its time; by the epoch since which it is there."""
        user = self._users.get(uid)
        if user is None:
            return
        with user.saving:
            changes = list(user.changes)
            time.sleep(random.uniform(*SAVE_SECONDS))
            self._database.save(uid, user.epoch, self._pod, changes)
            user.saved = len(changes)

    def save_changed(self) -> None:
        """All that have changed, one after the other, in a hurry."""
        for uid, user in list(self._users.items()):
            if len(user.changes) > user.saved:
                with user.saving:
                    changes = list(user.changes)
                    self._database.save(uid, user.epoch, self._pod, changes)
                    user.saved = len(changes)

    def forget(self, uid: str, epoch: int | None = None) -> None:
        """Drop what is in memory, unless it was loaded since that epoch."""
        with self._lock:
            user = self._users.get(uid)
            if user is not None and user.epoch != epoch:
                del self._users[uid]


class ActivePod:
    """The app, of either colour."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._journal = Journal(role.journal, name=role.name, ordinal=role.ordinal)
        self._users = Users(KeptVersions(database_of(role.folder)), role.name)
        self._is_async = role.colour == "async"
        options = RouteOptions(store=role.store, cache=CacheOptions(refresh_seconds=REFRESH_SECONDS))
        connect: Any = StatefulRoute.connect if self._is_async else sync.StatefulRoute.connect
        self._route: Any = connect(role.url, options)
        forget = lambda uid, _pod: self._users.forget(uid, self._server.token(uid))  # noqa: E731
        hooks = ServerHooks(
            on_release=self._release if self._is_async else self._release_blocking, on_gained=forget, on_moved=forget
        )
        self._server: Any = self._route.server(Identity(role.namespace, SVC, role.ordinal, role.pod_uid), SERVER, hooks)
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}

    async def run(self) -> None:
        """From start to SIGTERM."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS))
        saving = loop.create_task(self._save_now_and_then())
        path = socket_of(self._role.folder, self._role.ordinal)
        listening = await asyncio.start_unix_server(self._converse, path, limit=LONGEST_LINE)
        if self._is_async:
            await self._server.start()
            self._journal.note("ready")
            await self._server.run_until_terminated()
        else:
            asked = asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, asked.set)
            await asyncio.to_thread(self._server.start)
            self._journal.note("ready")
            await asked.wait()
            await asyncio.to_thread(self._server.stop)
        saving.cancel()
        listening.close()
        await self._hang_up()
        if self._is_async:
            await self._route.close()
        else:
            await asyncio.to_thread(self._route.close)
        self._journal.note("end")

    # Requests

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(json.dumps(await self._reply(json.loads(line))).encode() + b"\n")
                await writer.drain()
        del self._connections[writer]
        writer.close()

    async def _hang_up(self) -> None:
        """Whoever is just being answered gets the answer."""
        tasks = [task for task in self._connections.values() if task is not None]
        for writer in list(self._connections):
            writer.transport.pause_reading()
        await asyncio.wait(tasks, timeout=0.2) if tasks else None
        for writer in list(self._connections):
            writer.close()

    async def _reply(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "tell" in asked:
            users = {uid: self._users.known(uid) for uid in self._server.owned()}
            return {uid: user.changes for uid, user in users.items() if user is not None}
        uid, change = asked["uid"], asked["change"]
        try:
            if self._is_async:
                served = await self._serve(uid, change)
            else:
                served = await asyncio.to_thread(self._serve_blocking, uid, change)
        except (NotRunning, Replaced):
            return {"answer": "moved"}
        except StoreUnavailable:
            return {"answer": "wait"}
        if served:
            return {"answer": "served", "by": self._role.name}
        return {"answer": "wait" if self._server.is_in_transit(uid) else "moved"}

    async def _serve(self, uid: str, change: str) -> bool:
        async with self._server.serving(uid) as mine:
            epoch = self._server.token(uid)
            if not mine or epoch is None:
                return False
            user = self._users.known(uid) or await asyncio.to_thread(self._users.load, uid, epoch)
            if user is None:
                return False
            await asyncio.sleep(random.uniform(*WORK_SECONDS))
            user.changes.append(change)
            return True

    def _serve_blocking(self, uid: str, change: str) -> bool:
        with self._server.serving(uid) as mine:
            epoch = self._server.token(uid)
            if not mine or epoch is None or (user := self._users.load(uid, epoch)) is None:
                return False
            time.sleep(random.uniform(*WORK_SECONDS))
            user.changes.append(change)
            return True

    # Saving

    async def _release(self, uid: str) -> None:
        await asyncio.to_thread(self._release_blocking, uid)

    def _release_blocking(self, uid: str) -> None:
        self._users.save(uid)
        self._users.forget(uid)

    async def _save_now_and_then(self) -> None:
        while self._role.save_seconds:
            await asyncio.sleep(self._role.save_seconds)
            await asyncio.to_thread(self._users.save_changed)


if __name__ == "__main__":
    asyncio.run(ActivePod(Role.mine()).run())
