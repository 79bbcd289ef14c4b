"""The synchronous twins are what their sources make them; one that is not is named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "tools" / "twins.py", *options], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("tools", "operator"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_twins_are_fresh():
    done = check(ROOT, "--check")
    assert (done.stdout, done.returncode) == ("", 0)


def test_a_stale_twin_is_named_and_then_written_anew(copy):
    source = copy / "operator" / "stateful_route" / "store" / "layout.py"
    twin = source.with_name("layout_sync.py")
    source.write_text(source.read_text().replace("async def check_layout", "async def look_at_layout"))
    before = twin.read_text()
    stale = check(copy, "--check")
    assert stale.returncode == 1
    assert "layout_sync.py" in stale.stdout
    assert "make twins" in stale.stderr
    assert twin.read_text() == before
    assert check(copy).returncode == 0
    assert "\ndef look_at_layout" in twin.read_text()
    assert "await" not in twin.read_text()
