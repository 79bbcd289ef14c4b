"""The processes of an example: a store, pods, a manager and a gateway; none of them outlives the example."""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stateful_route.devcluster import EmbeddedStore
from stateful_route.devcluster.ports import HOST, free_ports
from stateful_route.devcluster.run_folder import RunFolder

PODS = 3
PORTS = range(1600, 2000)
"""All listen on one of these with a digit behind it: the pods on their index, the gateway on 9."""

REFRESH_SECONDS = "1"
"""Shorter than usual, so that nobody has to watch for long."""

END_SECONDS = 6.0


class Process:
    """A program of the example; what it prints appears with its name in front."""

    def __init__(self, name: str, script: Path, environment: dict[str, str]) -> None:
        """Start it."""
        self.name = name
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-u", script],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the example, which ends its processes in order
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self._process.send_signal(number)

    def wait(self, seconds: float = END_SECONDS) -> None:
        """Until it has ended, and everything that it has said is printed.

        Raises:
            subprocess.TimeoutExpired: it has not within this time.
        """
        self._process.wait(seconds)
        self._reader.join(seconds)

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # closed at the end
            for line in self._process.stdout or ():
                print(f"      {self.name} | {line.rstrip()}", flush=True)


class Processes:
    """What is running.

    Attributes:
        pods: By their indexes.
        environment: Of those that are started from now on.
    """

    def __init__(self, folder: Path, store_url: str, run: RunFolder) -> None:
        """``folder``: of the example's programs. Nothing is started yet."""
        self.pods: dict[int, Process] = {}
        self._folder = folder
        self._others: list[Process] = []
        self._ports = next(port for port in random.sample(PORTS, len(PORTS)) if _are_free(port))
        # By its mark in the environment a process is found and ended, also when the example is killed.
        self.environment = run.environment() | {
            "STATEFUL_ROUTE_REDIS_URL": store_url,
            "REFRESH_SECONDS": REFRESH_SECONDS,
            "POD_ADDRESS": self.address("{ordinal}"),
            "DATABASE": str(run.path / "counters.sqlite"),
            "PYTHONPATH": str(Path(__file__).parent),
        }

    @property
    def gateway(self) -> str:
        """Where the gateway listens, ``host:port``."""
        return self.address(9)

    def address(self, digit: int | str) -> str:
        """``host:port`` of a pod, by its index."""
        return f"{HOST}:{self._ports}{digit}"

    def start_pod(self, ordinal: int) -> Process:
        """Start a pod with the environment that Kubernetes gives to the pod of this name, when the former is over."""
        if ordinal in self.pods:
            self.pods[ordinal].wait()  # a Popen that was not waited for asks when it is collected, and loses a Ctrl-C
        kubernetes = {"POD_NAMESPACE": "default", "POD_NAME": f"rooms-{ordinal}", "POD_UID": str(uuid.uuid4())}
        pod = self.pods[ordinal] = self._started(f"pod {ordinal}", "pod.py", self.address(ordinal), kubernetes)
        return pod

    def start_others(self) -> None:
        """Start the manager and the gateway."""
        self._others.append(self._started("manager", "manager.py"))
        self._others.append(self._started("gateway", "gateway.py", self.gateway))

    def all(self) -> list[Process]:
        """All that were started, also those that have ended; whoever depends on others comes first."""
        return [*reversed(self._others), *self.pods.values()]

    def _started(self, name: str, script: str, listen: str = "", more: Mapping[str, str] | None = None) -> Process:
        return Process(name, self._folder / script, {**self.environment, "LISTEN": listen, **(more or {})})


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """A store, and a place for the programs of an example; everything is ended at the end, whatever happens."""
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedStore())
        run = stack.enter_context(RunFolder.create("example"))
        made = Processes(folder, store.url, run)
        stack.callback(_end, made)
        yield made


def _end(made: Processes) -> None:
    """Gracefully; who takes too long for that is killed by the run's folder."""
    for process in made.all():
        process.send(signal.SIGTERM)
    for process in made.all():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait()


def _are_free(ports: int) -> bool:
    return len(list(free_ports(range(10 * ports, 10 * ports + 10), 10))) == 10  # noqa: PLR2004
