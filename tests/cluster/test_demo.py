"""``stateful-route demo`` as a newcomer runs it, to its end and interrupted at any moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_SECONDS = 120.0
STOP_SECONDS = 20.0

pytestmark = pytest.mark.usefixtures("control_plane")  # whatever has to be built is built, and not in our time


@contextmanager
def demo(log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    environment = {name: value for name, value in os.environ.items() if name != "STATEFUL_ROUTE_TEST_KUBECONFIG"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "stateful_route", "demo"],
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(60)


def processes_of(owner: int) -> list[str]:
    """The command lines of live processes that the demo with this process id has started."""
    marks = (f"cluster-{owner}-", f"store-{owner}-", f"operator-{owner}-")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line, environment = (
                each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                for each in (path, path.with_name("environ"))
            )
        except OSError:
            continue
        if any(mark in line + environment for mark in marks):
            found.append(line)
    return found


def wait_until(holds: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def test_the_demo_ends_with_all_users_on_live_pods_and_leaves_nothing_running(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    with demo(log) as process:
        code = process.wait(PATIENCE_SECONDS)
        text = log.read_text()
    assert code == 0, text
    assert "all 1,000 users are on live pods" in text
    assert "rooms-1 is DENY_NEW_CALL (Terminating)" in text
    assert "rooms-3 is SHUTDOWN (UnreadyTooLong)" in text
    assert "rooms-4 is DENY_NEW_CALL (ScaledDown)" in text or "rooms-4 is DENY_NEW_CALL (Terminating)" in text
    assert "\x1b[" not in text, "no colours and no cursor movements where there is no terminal"
    wait_until(lambda: not processes_of(process.pid), "no process of the demo is left", 5)


@pytest.mark.parametrize("moment", ["store:", "control plane:", "operator:", "5 pods start", "is deleted"])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path, moment: str) -> None:
    log = tmp_path / "demo.log"
    with demo(log) as process:
        wait_until(lambda: moment in log.read_text() or process.poll() is not None, moment, PATIENCE_SECONDS)
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGINT)
        code = process.wait(STOP_SECONDS)
        text = log.read_text()
    assert code == 130, text
    assert "Traceback" not in text, text
    wait_until(lambda: not processes_of(process.pid), "no process of the demo is left", 5)


@pytest.mark.parametrize("moment", ["operator:", "is deleted"])
def test_a_demo_that_is_killed_leaves_no_process_behind(tmp_path: Path, moment: str) -> None:
    log = tmp_path / "demo.log"
    with demo(log) as process:
        wait_until(lambda: moment in log.read_text() or process.poll() is not None, moment, PATIENCE_SECONDS)
        assert process.poll() is None, log.read_text()
        assert any("stateful_route operator" in line for line in processes_of(process.pid))
        process.kill()
        process.wait(60)
        wait_until(lambda: not processes_of(process.pid), "its guard has ended all of it", STOP_SECONDS)
