"""The tutorial does what it says: its files are saved, its commands run in one shell, its output is waited for."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
TUTORIAL = (REPO / "docs" / "tutorial.md").read_text()
STEPS = TUTORIAL[TUTORIAL.index("## 1. ") :]
BLOCK = re.compile(r"(?:`(?P<file>\w+\.py)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
ANSWER = re.compile(r"pod (?P<pod>\d): request (?P<count>\d+) of (?P<uid>\w+)")
PORTS = {"6399", "7000"}
PATIENCE_SECONDS = 40.0
SAVED = r"pod \d has saved \w+ after \d+ requests"
END = "the command has ended"


class Shell:
    """A bash that is given commands as a reader would, and whose output is collected, that of its jobs too."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def run(self, commands: str, expected: str) -> list[str]:
        """Run commands until they have ended and each expected line has come, in any order; all lines that came.

        A number may be another one than the page shows, and so may who was saved, and where links went.
        """
        self._process.stdin.write(f"{commands}echo; echo {END}\n")
        self._process.stdin.flush()
        patterns = [_pattern(line) for line in [*expected.splitlines(), END]]
        missing = [
            pattern for place, pattern in enumerate(patterns) if pattern != SAVED or SAVED not in patterns[:place]
        ]
        found: list[str] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while missing:
            try:
                found.append(self._lines.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                pytest.fail(f"after {commands!r} these did not come: {missing}; there were: {found}")
            fitting = next((pattern for pattern in missing if re.fullmatch(pattern, found[-1])), None)
            if fitting is not None:
                missing.remove(fitting)
        return found

    def end(self) -> None:
        """Whatever has happened: nothing that was started stays."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)


def _pattern(line: str) -> str:
    line = re.sub(r"\d+", "0", line)
    if " has saved " in line:
        return SAVED
    if " has failed " in line:
        line = line.partition(" links to ")[0]
    return re.escape(line).replace("0", r"\d+") + (".*" if " has failed " in line else "")


@pytest.fixture
def shell(tmp_path):
    running = Shell(tmp_path)
    yield running
    running.end()


@pytest.fixture
def steps():
    """The page from its first step on, with ports that are free now."""
    text = STEPS
    with ExitStack() as sockets:
        for port in PORTS:
            probe = sockets.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            assert port in text
            text = text.replace(port, str(probe.getsockname()[1]))
    return text


def test_the_tutorial_ends_with_users_who_were_saved_and_lost_nothing(shell, steps, tmp_path):
    parts = [match.groupdict() for match in BLOCK.finditer(steps)]
    answers = []
    for part, following in zip(parts, [*parts[1:], {"language": None}], strict=True):
        if part["language"] == "python":
            (tmp_path / part["file"]).write_text(part["text"])
        if part["language"] == "sh":
            found = shell.run(part["text"], following["text"] if following["language"] == "text" else "")
            answered = [match for line in found if (match := ANSWER.fullmatch(line))]
            if answered:
                answers.append({match["uid"]: (int(match["pod"]), int(match["count"])) for match in answered})
    first, second, killed, stopped = answers
    assert {pod for pod, _ in first.values()} == {0, 1, 2}
    assert second == {uid: (pod, 2) for uid, (pod, _) in first.items()}
    victims = {uid for uid, (pod, _) in second.items() if pod == 1}
    assert {uid: killed[uid] for uid in set(second) - victims} == {
        uid: (pod, 3) for uid, (pod, _) in second.items() if uid not in victims
    }
    assert all(pod != 1 and count == 1 for pod, count in (killed[uid] for uid in victims))
    assert {uid: count for uid, (_, count) in stopped.items()} == {uid: count + 1 for uid, (_, count) in killed.items()}
    assert 0 not in {pod for pod, _ in stopped.values()}
