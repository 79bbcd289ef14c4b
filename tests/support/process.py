"""The operator as its users run it: a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

STOP_SECONDS = 5.0


class OperatorProcess:
    """``stateful-route operator`` with a kubeconfig and a store; stopped and checked on exit."""

    def __init__(
        self, kubeconfig: Path, redis_url: str | None, log: Path, namespaces: str = "", **options: str | float
    ) -> None:
        self._log = log
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "STATEFUL_ROUTE_NAMESPACES": namespaces,
            **({"STATEFUL_ROUTE_REDIS_URL": redis_url} if redis_url else {}),
        }
        defaults: Mapping[str, str | float] = {
            "health_port": 0,
            "metrics_port": 0,
            "resync_seconds": 2,
            "log_format": "json",
        }
        self._flags = [
            word
            for name, value in {**defaults, **options}.items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; it is at work when it has logged or written something."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stateful_route", "operator", *self._flags],
                env=self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, e.g. SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a lost node would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)

    def stop(self) -> float:
        """SIGTERM; how many seconds it took. Fails when it takes too long or does not end well."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError("the operator did not stop on SIGTERM") from None
        took = time.monotonic() - began
        assert code == 0, f"the operator ended with {code}: {self.text()[-2000:]}"
        assert took < STOP_SECONDS, f"the operator took {took:.1f} s to stop"
        return took

    async def wait_ended(self, seconds: float = 15.0) -> int:
        """Until it has ended by itself; its exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, seconds)

    def text(self) -> str:
        """All that it has printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        """Its JSON log lines, those with the given message."""
        found = []
        for line in self.text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and (message is None or entry.get("message") == message):
                found.append(entry)
        return found

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.signal(signal.SIGCONT)
            self.stop()
        errors = [line for line in self.text().splitlines() if "Traceback" in line]
        assert not errors, f"the operator logged a traceback:\n{self.text()[-4000:]}"
