"""Run folders: nothing of a run outlives its owner, however the owner ends."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from stateful_route.devcluster.run_folder import RunFolder, locked, runs_root, sweep

# An owner with a child that detaches itself, as the servers do; it prints its folder and the child's id.
OWNER = """
import os, subprocess, sys, time
from stateful_route.devcluster import run_folder
if sys.argv[1] == "without a guard":
    run_folder._ensure_guard = lambda root: None
folder = run_folder.RunFolder.create("test")
child = subprocess.Popen(["sleep", "60"], env=folder.environment(), start_new_session=True, stdout=subprocess.DEVNULL)
print(folder.path, child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_root(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def start_owner(guard):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, guard], stdout=subprocess.PIPE, text=True)
    folder, child = owner.stdout.readline().rsplit(maxsplit=1)
    owner.stdout.close()
    return owner, Path(folder), int(child)


def alive(pid):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_leaving_the_folder_kills_its_processes_and_deletes_it():
    with RunFolder.create("test") as folder:
        child = subprocess.Popen(["sleep", "60"], env=folder.environment(), start_new_session=True)
        wait_until(lambda: folder.processes() == [child.pid])  # its environment cannot be read while it begins

    assert child.wait(60) == -signal.SIGKILL
    assert not folder.path.exists()


def test_a_grandchild_that_detached_is_found_and_others_are_left_alone():
    with RunFolder.create("test") as folder, RunFolder.create("test") as other:
        bystander = subprocess.Popen(["sleep", "60"], env=other.environment())
        subprocess.run(["sh", "-c", "setsid sleep 60 &"], env=folder.environment(), check=True)
        wait_until(lambda: len(folder.processes()) == 1)
        folder.remove()
        assert bystander.poll() is None
    assert bystander.wait(60) == -signal.SIGKILL


def test_removing_twice_is_allowed():
    folder = RunFolder.create("test")
    folder.remove()
    folder.remove()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_guard_cleans_up_after_an_owner_that_was_ended_by(end):
    owner, folder, child = start_owner("with a guard")
    owner.send_signal(end)
    owner.wait(60)

    wait_until(lambda: not alive(child) and not folder.exists())


def test_the_next_run_cleans_up_where_the_guard_was_killed_too():
    owner, folder, child = start_owner("without a guard")
    owner.kill()
    owner.wait(60)
    assert alive(child)

    with RunFolder.create("test"):
        assert not alive(child)
        assert not folder.exists()


def test_a_sweep_leaves_living_owners_alone():
    owner, folder, child = start_owner("without a guard")
    with RunFolder.create("test") as mine:
        assert sweep(runs_root()) == []
        assert alive(child)
        assert folder.exists()
        assert mine.path.exists()
    owner.kill()
    owner.wait(60)
    assert sweep(runs_root()) == [folder]


def test_the_last_command_runs_before_the_folder_goes(tmp_path):
    with RunFolder.create("test") as folder:
        folder.at_removal(["sh", "-c", f"ls {folder.path} > {tmp_path / 'seen'}"])

    assert "owner.lock" in (tmp_path / "seen").read_text()


def test_a_root_that_others_can_write_to_is_refused():
    runs_root().chmod(0o777)

    with pytest.raises(PermissionError, match="not a private folder"):
        RunFolder.create("test")


def test_waiting_for_a_lock_says_so_once_and_has_an_end(tmp_path):
    told = []
    with (
        locked(tmp_path / "lock", timeout_seconds=1),
        pytest.raises(TimeoutError, match="another process has held"),
        locked(tmp_path / "lock", timeout_seconds=0.1, on_wait=lambda: told.append("waiting")),
    ):
        pass

    assert told == ["waiting"]
