"""A temporary folder and the processes that belong to it; neither outlives the Python process that made it.

Servers that are started here fork, detach and are re-parented, so that no process group holds them together. What they
keep is their environment: every process of a run carries ``STATEFUL_ROUTE_RUN=<folder>``, and is found by it in /proc.

The owner holds a lock on its folder, which the kernel drops when the owner dies, however it dies. A *guard*, a small
process that waits for its owner's end, then removes what is left; should the guard be killed as well, the next run
finds the folder without a lock and removes it. Standard library only: the guard runs this file alone.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Self

MARK: Final = "STATEFUL_ROUTE_RUN"

_OWNER_LOCK: Final = "owner.lock"
_LAST_COMMAND: Final = "last-command.json"
KILL_SECONDS: Final = 10.0
_LAST_COMMAND_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02

_guards: dict[tuple[int, Path], "subprocess.Popen[bytes]"] = {}


def runs_root() -> Path:
    """The folder that holds the run folders of this user; made when it is not there.

    Raises:
        PermissionError: somebody else made a folder of that name, or others can write to it.
    """
    root = Path(tempfile.gettempdir()).resolve() / f"stateful-route-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{root} is not a private folder of this user; remove it or set TMPDIR to another place")
    return root


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock of ``path`` until it is closed, or None when another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def locked(path: Path, *, timeout_seconds: float, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of ``path``; ``on_wait`` is called once if another process has it.

    Raises:
        TimeoutError: the other process kept it for ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    descriptor = try_lock(path)
    if descriptor is None:
        on_wait()
    while descriptor is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"another process has held {path} for {timeout_seconds:.0f} s")
        time.sleep(_POLL_SECONDS)
        descriptor = try_lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


class RunFolder:
    """A folder of one run: a control plane, a store, a build. ``remove()`` kills its processes first."""

    def __init__(self, path: Path, owner_lock: int) -> None:
        self.path = path
        self._owner_lock: int | None = owner_lock

    @classmethod
    def create(cls, purpose: str) -> Self:
        """A new, empty, private folder; what dead owners left behind is removed first."""
        root = runs_root()
        sweep(root)
        _ensure_guard(root)
        # A folder is never seen without its lock: a sweep takes this same lock.
        with locked(root / ".lock", timeout_seconds=KILL_SECONDS):
            path = Path(tempfile.mkdtemp(prefix=f"{purpose}-{os.getpid()}-", dir=root))
            owner_lock = try_lock(path / _OWNER_LOCK)
        if owner_lock is None:  # pragma: no cover  the folder is a second old and its name is random
            raise BlockingIOError(f"{path} is locked by another process")
        return cls(path, owner_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.remove()

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """``base`` (default: this process's environment) with the mark that ties a process to this folder."""
        return {**(os.environ if base is None else base), MARK: str(self.path)}

    def at_removal(self, command: list[str]) -> None:
        """Run ``command`` when the folder is removed, by whomever: for what is no process here, such as containers."""
        (self.path / _LAST_COMMAND).write_text(json.dumps(command), encoding="utf-8")

    def processes(self) -> list[int]:
        """The ids of the living processes that carry this folder's mark, children of children included."""
        return _marked(self.path)

    def remove(self) -> None:
        """Kill this folder's processes and delete it. Repeatable.

        Raises:
            TimeoutError: a process did not die within ten seconds; the folder is still there.
        """
        if self._owner_lock is None:
            return
        _remove(self.path)
        os.close(self._owner_lock)
        self._owner_lock = None


def sweep(root: Path) -> list[Path]:
    """Remove the run folders whose owner is dead, with their processes; return them."""
    stale: list[tuple[Path, int]] = []
    with locked(root / ".lock", timeout_seconds=KILL_SECONDS):
        for path in root.iterdir():
            # An owner that is just removing its folder may be quicker.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if (owner_lock := try_lock(path / _OWNER_LOCK)) is not None:
                    stale.append((path, owner_lock))
    # Outside the lock: killing takes time, and the folders' own locks keep others away.
    for path, owner_lock in stale:
        try:
            _remove(path)
        finally:
            os.close(owner_lock)
    return [path for path, _ in stale]


def _remove(path: Path) -> None:
    last_command = path / _LAST_COMMAND
    if last_command.exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(  # noqa: S603  our own words, from our own private folder
                json.loads(last_command.read_text(encoding="utf-8")),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_LAST_COMMAND_SECONDS,
            )
    _kill(path)
    shutil.rmtree(path, ignore_errors=True)


def _kill(path: Path) -> None:
    """Kill until a look finds none: a process may fork between the look and the signal."""
    deadline = time.monotonic() + KILL_SECONDS
    while alive := _marked(path):
        kill(alive, deadline - time.monotonic())


def kill(pids: Iterable[int], timeout_seconds: float) -> None:
    """Kill processes and wait until each is gone for good, its ports free.

    Its memory, and with it the mark, goes earlier than its sockets: looking for the mark would be too early.

    Raises:
        TimeoutError: one of them did not die within ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    with contextlib.ExitStack() as open_handles:
        handles: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handles[pid] = os.pidfd_open(pid)
                open_handles.callback(os.close, handles[pid])
                signal.pidfd_send_signal(handles[pid], signal.SIGKILL)
        for pid, handle in handles.items():
            if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"process {pid} did not die within {timeout_seconds:.0f} s")


def _marked(path: Path) -> list[int]:
    mark = f"{MARK}={path}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # A zombie's environment is empty, another user's is closed: neither is ours to kill.
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _ensure_guard(root: Path) -> None:
    """Start this owner's guard unless it has one."""
    key = (os.getpid(), root)
    if key in _guards and _guards[key].poll() is None:
        return
    _guards[key] = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", __file__, str(os.getpid()), str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # Ctrl-C goes to the terminal's whole process group
    )


def _guard(owner: int, root: Path) -> None:
    """Wait for the end of ``owner``, as long as it takes: only then has the kernel dropped all of its locks."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(owner)], [], [])
    sweep(root)


if __name__ == "__main__":
    _guard(int(sys.argv[1]), Path(sys.argv[2]))
