"""Pods and callers as processes on this machine, and what is done to them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.states import claim
from support.routed_service import EXPIRE_SECONDS, NS, REFRESH_SECONDS, STORE, SVC, UIDS, UPDATE_SECONDS, Role
from support.routing_history import FOREVER, Entry, History, Said, Span
from support.routing_promises import End, Times, breaches, end_breaches, indirect, shown, summary

TESTS = Path(__file__).resolve().parents[1]

PATIENCE_SECONDS = 60.0
WAITED_FOR = (b'{"k":"ready"', b'{"k":"round"', b'{"k":"holds"')
SAMPLE_PAUSE_SECONDS = 0.08
SETTLE_SECONDS = 3.0
LAST_SECONDS = 2.0

TIMES = Times(REFRESH_SECONDS, UPDATE_SECONDS, EXPIRE_SECONDS, STORE.deadline_seconds)

PODS = {0: "async", 1: "async", 2: "sync"}
CALLERS = ("async", "async", "async", "sync")


class RoleProcess:
    """A process, and what it has written so far."""

    def __init__(self, role: Role, popen: "subprocess.Popen[bytes]", errors: Path) -> None:
        self.role = role
        self.popen = popen
        self._errors = errors
        self.last: dict[str, Entry] = {}
        self._noted: Counter[str] = Counter()
        self._read = 0

    def noted(self, kind: str) -> int:
        """How many such entries its journal has."""
        if self.role.journal.exists():
            with self.role.journal.open("rb") as journal:
                journal.seek(self._read)
                for line in journal:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    if line.startswith(WAITED_FOR):
                        entry = json.loads(line)
                        self._noted[entry["k"]] += 1
                        self.last[entry["k"]] = entry
        return self._noted[kind]

    async def notes(self, kind: str, count: int = 1) -> None:
        """Wait until it has so many such entries; it must not end before."""
        began = time.monotonic()
        while self.noted(kind) < count:
            ended = self.popen.poll()
            assert ended is None, f"{self.role.name} has ended with {ended}: {self.text()}"
            waited = time.monotonic() - began
            assert waited < PATIENCE_SECONDS, f"{self.role.name} noted no {kind} in {waited:.0f} s: {self.text()}"
            await asyncio.sleep(0.01)

    async def ends(self, code: int) -> None:
        """Wait for its end, and for the right one."""
        began = time.monotonic()
        while self.popen.poll() is None:
            waited = time.monotonic() - began
            assert waited < PATIENCE_SECONDS, f"{self.role.name} does not end: {self.text()}"
            await asyncio.sleep(0.01)
        assert self.popen.returncode == code, f"{self.role.name} ended with {self.popen.returncode}: {self.text()}"

    def text(self) -> str:
        """What it has complained of."""
        return self._errors.read_text(errors="replace")[-4000:]


def start_process(module: str, role: Role, variables: Mapping[str, str] | None = None) -> RoleProcess:
    """A module as a process; its journal, and what it complains of, are in the role's folder."""
    path = os.pathsep.join([str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = {**os.environ, "PYTHONPATH": path, **(variables or {})}
    errors = Path(role.folder) / f"{role.name}.err"
    with errors.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", module, role.words()], env=environment, stdout=output, stderr=output
        )
    return RoleProcess(role, popen, errors)


class Fleet:
    """Starts processes, sends signals, and takes down when; what was done is part of the history.

    Pod indexes are ordinals; a pod's process is called ``pod-<ordinal>-<life>``, a caller's ``caller-<number>``.
    """

    def __init__(self, folder: Path, server: EmbeddedStore, environment: Mapping[str, Mapping[str, str]] | None = None):
        """``environment``: name's beginning → variables that such processes have besides."""
        self._folder = folder
        self._server = server
        self._environment = environment or {}
        self._pods: dict[int, RoleProcess] = {}
        self._callers: list[RoleProcess] = []
        self._all: list[RoleProcess] = []
        self._phase: tuple[str, float] | None = None
        self.history = History()

    # Pods

    async def start_pods(self, colours: Mapping[int, str]) -> None:
        """Start pods (anew), and wait until they are ready."""
        for ordinal, colour in colours.items():
            life = sum(process.role.ordinal == ordinal for process in self._all)
            name = f"pod-{ordinal}-{life}"
            role = Role(name, self._server.url, str(self._folder), colour, ordinal, f"uid-{ordinal}-{life}")
            self._pods[ordinal] = self._start("support.routed_pod", role)
        for ordinal in colours:
            await self._pods[ordinal].notes("ready")
            self._trouble_ends(ordinal)

    async def end_pod(self, ordinal: int, number: signal.Signals) -> None:
        """SIGTERM or SIGKILL a pod, and wait for its end."""
        self._trouble_begins(ordinal, number.name)
        process = self._pods[ordinal]
        process.popen.send_signal(number)
        await process.ends(0 if number is signal.SIGTERM else -number)

    def freeze_pod(self, ordinal: int) -> None:
        """SIGSTOP."""
        self._trouble_begins(ordinal, "SIGSTOP")
        self._pods[ordinal].popen.send_signal(signal.SIGSTOP)

    def wake_pod(self, ordinal: int) -> None:
        """SIGCONT."""
        process = self._pods[ordinal]
        began = next(span.began for span in self.history.troubles if span.pod == ordinal and span.ended == FOREVER)
        process.popen.send_signal(signal.SIGCONT)
        self._trouble_ends(ordinal)
        self.history.sleeps.append(Span(began, time.monotonic(), process.role.name))

    # Callers

    def start_callers(self, colours: Iterable[str]) -> None:
        """Start callers, which are at once at full speed."""
        for colour in colours:
            role = Role(f"caller-{len(self._callers)}", self._server.url, str(self._folder), colour)
            self._callers.append(self._start("support.calling_process", role))

    async def rounds(self, count: int) -> None:
        """Wait until each of them has asked for all uids so many times more."""
        wanted = [(process, process.noted("round") + count) for process in self._callers]
        for process, rounds in wanted:
            await process.notes("round", rounds)

    async def stop_callers(self) -> None:
        """SIGTERM, and wait for their end."""
        for process in self._callers:
            process.popen.send_signal(signal.SIGTERM)
        for process in self._callers:
            await process.ends(0)

    # The store

    async def store_away(self, seconds: float, *, emptied: bool) -> None:
        """Kill the store, and start it again after so long; ``emptied``: it comes back without its data."""
        began = time.monotonic()
        self._server.kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._server.start)
        self.history.outages.append(Span(began, time.monotonic(), "emptied" if emptied else "restarted"))

    def clock_stepped(self) -> None:
        """The server's clock was, just now; temporary links may have expired by it."""
        now = time.monotonic()
        self.history.steps.append(Span(now - 1, now, "stepped"))

    # History

    def phase(self, name: str) -> None:
        """From now on this is what goes on."""
        now = time.monotonic()
        if self._phase is not None:
            self.history.phases.append(Span(self._phase[1], now, self._phase[0]))
        self._phase = (name, now)

    async def sample(self, executor: StatefulExecutor) -> None:
        """Look at all links again and again; ends when it is cancelled."""
        while True:
            asked = time.monotonic()
            try:
                replies = await executor.get_links(NS, UIDS, SVC)
            except StatefulRouteError:
                replies = None
            answered = time.monotonic()
            if replies is not None:
                for uid, link in replies.done.items():
                    if link is not None:
                        said = Said(uid, link.ordinal, link.epoch, asked, answered, "observer")
                        self.history.said.append(said)
            await asyncio.sleep(SAMPLE_PAUSE_SECONDS)

    async def found(self, executor: StatefulExecutor) -> "End":
        """How everything stands now, once nobody calls any more and each pod has told what it holds."""
        live = [process for process in self._pods.values() if process.popen.poll() is None]
        for process, count in [(process, process.noted("holds") + 2) for process in live]:
            await process.notes("holds", count)
        return End(
            links=(await executor.get_links(NS, UIDS, SVC)).done,
            held={process.role.ordinal: frozenset(process.last["holds"]["uids"]) for process in live},
            counts=await executor.count_links(NS, SVC),
            word=await executor.get_workload_state(NS, SVC),
        )

    def read(self) -> History:
        """All that is known, once the processes have ended; fails where one has told of an error of its own."""
        self.phase("")
        for process in self._all:
            self.history.read(process.role.journal)
            text = process.text()
            assert "Traceback" not in text, f"{process.role.name}: {text}"
            assert "never retrieved" not in text, f"{process.role.name}: {text}"
        return self.history

    def _start(self, module: str, role: Role) -> RoleProcess:
        more = [words for begin, words in self._environment.items() if role.name.startswith(begin)]
        process = start_process(module, role, {name: word for one in more for name, word in one.items()})
        self._all.append(process)
        return process

    def _trouble_begins(self, ordinal: int, what: str) -> None:
        self.history.troubles.append(Span(time.monotonic(), FOREVER, what, ordinal))

    def _trouble_ends(self, ordinal: int) -> None:
        now = time.monotonic()
        spans = self.history.troubles
        self.history.troubles = [
            span._replace(ended=now) if span.pod == ordinal and span.ended == FOREVER else span for span in spans
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._all:
            process.popen.kill()
            process.popen.wait(PATIENCE_SECONDS)


@asynccontextmanager
async def at_work(
    folder: Path,
    server: EmbeddedStore,
    callers: Iterable[str] = CALLERS,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[Fleet]:
    """Pods and callers at full speed; afterwards all settles, and all promises must have held.

    ``environment``: as of `Fleet`.
    """
    async with StatefulExecutor.from_url(server.url) as executor:
        # Dead pods are found by their heartbeat: nobody but they says how they are.
        config = {"heartbeat": "Required", "expireSeconds": EXPIRE_SECONDS}
        await claim(await executor.store(), Service(NS, SVC), "test/route", config)
        with Fleet(folder, server, environment) as fleet:
            await fleet.start_pods(PODS)
            sampling = asyncio.create_task(fleet.sample(executor))
            fleet.start_callers(callers)
            await fleet.rounds(1)
            yield fleet
            fleet.phase("settling")
            await asyncio.sleep(SETTLE_SECONDS)
            await fleet.rounds(2)
            fleet.phase("settled")
            since = time.monotonic()
            await asyncio.sleep(LAST_SECONDS)
            await fleet.rounds(1)
            until_then = time.monotonic()
            await fleet.stop_callers()
            sampling.cancel()
            end = await fleet.found(executor)
            await asyncio.gather(*(fleet.end_pod(pod, signal.SIGTERM) for pod in end.held))
            history = fleet.read()
            print("", summary(history, TIMES), sep="\n")
            found = breaches(history, TIMES) + end_breaches(end, UIDS)
            late = indirect(history, since, until_then)
            found += [f"it did not reach the owner at once: {request}" for request in late]
            assert not found, shown(found)
