"""A routed pod as a process that is stopped, frozen and replaced: ``python -m support.stopping_pod '{"url": …}'``.

It prints what happens, one line of JSON each.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from stateful_route.domain.errors import Replaced
from stateful_route.drivers import cache, cache_sync, server, server_sync
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerHooks, ServerOptions
from stateful_route.store import executor, executor_sync
from support.waiting import until

NS, SVC = "games", "room"
FROZEN_SECONDS = 0.5
"""Who has not run for so long was stopped."""
WATCHED = "uid-0"
REPLACED_CODE = 3
TESTS = Path(__file__).resolve().parent.parent


@dataclass(kw_only=True)
class Role:
    """What the process does: times are seconds; a save takes ``save_seconds``."""

    url: str
    colour: str
    ordinal: int = 0
    pod_uid: str = "pod-a"
    uids: int = 0
    update_seconds: float = 30.0
    settle_seconds: float = 0.05
    stop_seconds: float = 10.0
    save_seconds: float = 0.0
    releases_at_once: int = 8


@dataclass
class PodProcess:
    """The process, as its test sees it; it is killed at the end."""

    role: Role
    told: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.stopping_pod", json.dumps(vars(self.role))],
            stdout=subprocess.PIPE,
            cwd=TESTS,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)
        self._reader.join(60)

    def all(self, what: str) -> list[Any]:
        """All values that it has printed under that word."""
        return [line[what] for line in list(self.told) if what in line]

    async def printed(self, what: str, count: int = 1) -> list[Any]:
        """Until it has printed so many of them."""
        await until(lambda: len(self.all(what)) >= count or self.process.poll() is not None)
        assert len(self.all(what)) >= count, f"it ended with {self.process.returncode}: {self.told}"
        return self.all(what)

    async def ended(self, seconds: float = 15.0) -> int:
        """Until it has ended; its exit code."""
        code = await asyncio.to_thread(self.process.wait, seconds)
        await asyncio.to_thread(self._reader.join, 5)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))


def say(**what: object) -> None:
    """Print what has happened."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def hooks(role: Role) -> ServerHooks:
    async def release(uid: str) -> None:
        await asyncio.sleep(role.save_seconds)
        say(released=uid)

    def release_sync(uid: str) -> None:
        time.sleep(role.save_seconds)
        say(released=uid)

    return ServerHooks(
        on_release=release if role.colour == "async" else release_sync,
        on_moved=lambda uid, to: say(moved=[uid, to]),
        on_replaced=lambda: say(replaced=True),
        on_assume_replaced=lambda: say(assumed=True),
    )


def watch(driver: Any) -> None:
    """A thread that asks all the time, and tells what it was answered first after the process was frozen."""
    last, token = time.monotonic(), driver.token(WATCHED)
    while True:
        now = time.monotonic()  # first: an answer from before a freeze does not count as one from after it
        owned = driver.owns(WATCHED)
        token = token if driver.token(WATCHED) is None else driver.token(WATCHED)
        if now - last > FROZEN_SECONDS:
            say(woke={"owns": owned, "token": token})
        last = now


async def run(role: Role) -> None:
    async with executor.StatefulExecutor.from_url(role.url) as store:
        states = cache.ServiceStateCache(store)
        driver = server.ServerDriver(states, Identity(NS, SVC, role.ordinal, role.pod_uid), options(role), hooks(role))
        running = asyncio.create_task(driver.run_until_terminated())
        await until(lambda: driver.effective_state is not None or running.done())
        for number in range(role.uids):
            await driver.set_linked_pod(f"uid-{number}")
        threading.Thread(target=watch, args=(driver,), daemon=True).start()
        say(ready=True)
        try:
            await running
        finally:
            await states.close()


def run_sync(role: Role) -> None:
    with executor_sync.StatefulExecutor.from_url(role.url) as store:
        states = cache_sync.ServiceStateCache(store)
        me = Identity(NS, SVC, role.ordinal, role.pod_uid)
        driver = server_sync.ServerDriver(states, me, options(role), hooks(role))

        def work() -> None:
            while driver.effective_state is None:
                time.sleep(0.01)
            for number in range(role.uids):
                driver.set_linked_pod(f"uid-{number}")
            say(ready=True)
            watch(driver)

        threading.Thread(target=work, daemon=True).start()
        try:
            driver.run_until_terminated()
        finally:
            states.close()


def options(role: Role) -> ServerOptions:
    names = ("update_seconds", "settle_seconds", "stop_seconds", "releases_at_once")
    return ServerOptions(cpu_factor=0, **{name: getattr(role, name) for name in names})


def main() -> int:
    role = Role(**json.loads(sys.argv[1]))
    try:
        if role.colour == "async":
            asyncio.run(run(role))
        else:
            run_sync(role)
    except Replaced:
        return REPLACED_CODE
    say(end=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
