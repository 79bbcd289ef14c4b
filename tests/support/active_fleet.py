"""Pods with active users and their callers, as processes; and what has become of all changes in the end."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.incarnation import Incarnation
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.states import claim, set_operator_states
from support.active_pod import LONGEST_LINE, database_of
from support.fleet import PATIENCE_SECONDS, RoleProcess, start_process
from support.kept_versions import KeptVersions
from support.lost_updates import Acknowledged, Failure, Record
from support.operator_records import record
from support.routed_service import EXPIRE_SECONDS, NS, SVC, Role, socket_of
from support.waiting import eventually

PODS: Mapping[int, str] = {0: "async", 1: "sync", 2: "async"}
CALLERS = 3
PAUSE_SECONDS = 0.05
OWNER = "test/route"


class ActiveFleet:
    """Starts processes, and does to pods what happens to them.

    Attributes:
        failures: Which processes were killed or frozen.
        record: What is known in the end.
        answers: How many attempts of callers came to what.
    """

    def __init__(self, folder: Path, server: EmbeddedStore, executor: StatefulExecutor, **role: Any) -> None:
        """``role``: more of what processes are started as."""
        self._folder = folder
        self._server = server
        self._executor = executor
        self._role = role
        self._pods: dict[int, RoleProcess] = {}
        self._callers: list[RoleProcess] = []
        self.all: list[RoleProcess] = []
        self.failures: list[Failure] = []
        self.record = Record()
        self.answers: Counter[str] = Counter()

    async def start_pods(self, ordinals: Iterable[int]) -> None:
        """Start pods (anew), and wait until they are ready."""
        started = []
        for ordinal in ordinals:
            life = sum(process.role.ordinal == ordinal for process in self.all)
            name = f"pod-{ordinal}-{life}"
            more = {"ordinal": ordinal, "pod_uid": f"uid-{ordinal}-{life}"}
            self._pods[ordinal] = self._start("support.active_pod", name, PODS[ordinal], **more)
            started.append(self._pods[ordinal])
        for process in started:
            await process.notes("ready")

    async def start_callers(self) -> None:
        """Start callers, and wait until all users have a pod."""
        self._callers = [self._start("support.active_caller", f"caller-{number}") for number in range(CALLERS)]
        await self.rounds(1)

    async def rounds(self, count: int) -> None:
        """Wait until each caller has had so many more answers for each user."""
        wanted = [(process, process.noted("round") + count) for process in self._callers]
        for process, rounds in wanted:
            await process.notes("round", rounds)

    async def end_pod(self, ordinal: int) -> None:
        """SIGTERM, and wait for the end."""
        self._pods[ordinal].popen.send_signal(signal.SIGTERM)
        await self._pods[ordinal].ends(0)

    async def kill_pod(self, ordinal: int) -> None:
        """SIGKILL."""
        self._fails(ordinal)
        self._pods[ordinal].popen.kill()
        await self._pods[ordinal].ends(-signal.SIGKILL)

    async def freeze_pod(self, ordinal: int, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        self._fails(ordinal)
        self._pods[ordinal].popen.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._pods[ordinal].popen.send_signal(signal.SIGCONT)

    async def drain_pod(self, ordinal: int) -> None:
        """As the operator does in App mode: ask the pod to give its users away; wait until it has none."""
        await self._say(ordinal, "DENY_NEW_CALL", PATIENCE_SECONDS)
        await self.links(ordinal, lambda count: count == 0)

    async def undrain_pod(self, ordinal: int) -> None:
        """The operator has changed its mind."""
        await self._say(ordinal, "READY", None)

    async def links(self, ordinal: int, fits: Callable[[int], bool]) -> None:
        """Wait until the pod has so many."""

        async def count() -> int:
            return (await self._executor.count_links(NS, SVC)).get(ordinal, 0)

        await eventually(count, fits, f"links of pod {ordinal}", seconds=PATIENCE_SECONDS)

    async def finish(self) -> None:
        """End the callers, ask the owners what they have, end the pods, and read all that was taken down."""
        for process in self._callers:
            process.popen.send_signal(signal.SIGTERM)
        for process in self._callers:
            await process.ends(0)
        live = {ordinal: process for ordinal, process in self._pods.items() if process.popen.poll() is None}
        memories = {process.role.name: await self._told(ordinal) for ordinal, process in live.items()}
        acknowledged = []
        for process in self._callers:
            for line in process.role.journal.read_text().splitlines():
                entry = json.loads(line)
                if entry["k"] == "change":
                    self.answers[entry["answer"]] += 1
                    if entry["answer"] == "served":
                        acknowledged.append(Acknowledged(entry["change"], entry["uid"], entry["at"], entry["by"]))
        self.record = Record(acknowledged, KeptVersions(database_of(self._folder)).all(), memories)
        for ordinal in live:
            await self.end_pod(ordinal)
        for process in self.all:
            assert "Traceback" not in process.text(), f"{process.role.name}: {process.text()}"

    def kill_all(self) -> None:
        """Leave nothing behind."""
        for process in self.all:
            process.popen.kill()
            process.popen.wait(PATIENCE_SECONDS)

    async def _told(self, ordinal: int) -> dict[str, list[str]]:
        reader, writer = await asyncio.open_unix_connection(socket_of(str(self._folder), ordinal), limit=LONGEST_LINE)
        writer.write(b'{"tell": true}\n')
        told: dict[str, list[str]] = json.loads(await reader.readline())
        writer.close()
        return told

    async def _say(self, ordinal: int, state: str, release_seconds: float | None) -> None:
        store = await self._executor.store()
        seconds, micros = await store.command("TIME")
        now = int(seconds) * 1000 + int(micros) // 1000
        release = None if release_seconds is None else now + round(release_seconds * 1000)
        whose = Incarnation(self._pods[ordinal].role.pod_uid, 0)
        await set_operator_states(
            store, Service(NS, SVC), OWNER, {ordinal: record(state, incarnation=whose, release=release)}
        )

    def _fails(self, ordinal: int) -> None:
        self.failures.append(Failure(self._pods[ordinal].role.name, time.monotonic()))

    def _start(self, module: str, name: str, colour: str = "async", **more: Any) -> RoleProcess:
        known = {"pause_seconds": PAUSE_SECONDS, **self._role, **more}
        process = start_process(module, Role(name, self._server.url, str(self._folder), colour, **known))
        self.all.append(process)
        return process


@asynccontextmanager
async def active(folder: Path, **role: Any) -> AsyncIterator[ActiveFleet]:
    """Pods and active users; afterwards `ActiveFleet.record` says what has become of all changes."""
    with EmbeddedStore() as server:
        async with StatefulExecutor.from_url(server.url) as executor:
            # Dead pods are found by their heartbeat: nobody but they says how they are.
            config = {"heartbeat": "Required", "expireSeconds": EXPIRE_SECONDS}
            await claim(await executor.store(), Service(NS, SVC), OWNER, config)
            fleet = ActiveFleet(folder, server, executor, **role)
            try:
                await fleet.start_pods(PODS)
                await fleet.start_callers()
                yield fleet
                await fleet.finish()
            finally:
                fleet.kill_all()
