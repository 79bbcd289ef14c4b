"""The examples as one runs them: to their end, interrupted, and killed."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE_SECONDS = 60.0
STOP_SECONDS = 20.0

LINE = re.compile(r"^   (\w+) +pod (\d)(?: → (\d))? +(\d+) requests(, begins anew after \d+)?", re.MULTILINE)


@contextmanager
def running(example: str, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / example / "run.py"],
            stdout=out,
            stderr=out,
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(60)


def processes_of(owner: int) -> list[str]:
    """The command lines of live processes that the example with this process id has started."""
    marks = (f"store-{owner}-", f"example-{owner}-")
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


def wait_until(holds: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def users(chapter: str) -> dict[str, tuple[int, int, int, bool]]:
    """User → the pod before, the pod now, the count, and whether it began anew."""
    return {
        uid: (int(before), int(now or before), int(count), bool(anew))
        for uid, before, now, count, anew in LINE.findall(chapter)
    }


def test_the_example_tells_how_users_of_a_killed_and_of_an_ended_pod_are_served_again(example, tmp_path):
    log = tmp_path / "example.log"
    with running(example, log) as process:
        code = process.wait(PATIENCE_SECONDS)
    text = log.read_text()
    assert code == 0, text
    assert "Traceback" not in text, text
    _, first, second, third = re.split(r"^\d\. ", text, flags=re.MULTILINE)
    killed, ended = (
        int(found[1])
        for found in map(re.compile(r"pod (\d) is (?:killed|asked)", re.IGNORECASE).search, (second, third))
    )
    before, killing, ending = map(users, (first, second, third))

    assert len(before) == len(killing) == len(ending) == 6
    assert {count for _, _, count, _ in before.values()} == {3}
    for uid, (was, now, count, anew) in killing.items():
        lost = was == killed
        assert (now != killed, count, anew) == ((True, 1, True) if lost else (was == now, 4, False)), uid
    assert any(was == killed for was, *_ in killing.values())
    for uid, (_, now, count, anew) in ending.items():
        assert now != ended
        assert count > killing[uid][2]
        assert not anew
    moved = {uid for uid, (was, *_) in ending.items() if was == ended}
    assert moved
    assert {line[1] for line in re.finditer(rf"pod {ended} \| (\w+) is saved at \d+", third)} >= moved
    assert f"manager | pod {killed} of default/rooms is unhealthy: " in second + third
    assert "no count was lost" in third
    assert text.rstrip().endswith("everything has ended.")
    wait_until(lambda: not processes_of(process.pid), "no process is left", 5)


@pytest.mark.parametrize(
    ("example", "moment", "number"),
    [("asgi", "are started", signal.SIGINT), ("wsgi", "2. Pod", signal.SIGTERM), ("asgi", "3. Pod", signal.SIGINT)],
)
def test_an_interrupted_example_leaves_no_process_behind(tmp_path, example, moment, number):
    log = tmp_path / "example.log"
    with running(example, log) as process:
        wait_until(lambda: moment in log.read_text() or process.poll() is not None, moment, PATIENCE_SECONDS)
        assert process.poll() is None, log.read_text()
        process.send_signal(number)
        code = process.wait(STOP_SECONDS)
    text = log.read_text()
    assert code == 130, text
    assert text.rstrip().endswith("Interrupted; everything has ended.")
    assert "Traceback" not in text, text
    wait_until(lambda: not processes_of(process.pid), "no process is left", 5)


def test_an_example_that_is_killed_leaves_no_process_behind(tmp_path):
    log = tmp_path / "example.log"
    with running("wsgi", log) as process:
        wait_until(lambda: "2. Pod" in log.read_text() or process.poll() is not None, "it plays", PATIENCE_SECONDS)
        assert any("pod.py" in line for line in processes_of(process.pid)), log.read_text()
        process.kill()
        process.wait(60)
        wait_until(lambda: not processes_of(process.pid), "its guard has ended all of it", STOP_SECONDS)
