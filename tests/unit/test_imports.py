"""The import rules hold, and each of them is a rule that can be broken."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]

BROKEN_BY = {
    "the domain imports the store": ("domain/routing.py", "import stateful_route.store.keys", "imports go one way"),
    "the store imports what Kubernetes says": (
        "store/keys.py",
        "import stateful_route.kube.pods",
        "imports go one way",
    ),
    "the router imports its neighbour": ("router/pace.py", "import stateful_route.api.model", "imports go one way"),
    "a new folder has no place among the layers": ("novelty/__init__.py", "", "imports go one way"),
    "the store imports kopf": ("store/keys.py", "import kopf", "the data plane needs redis alone"),
    "the router imports pydantic": ("router/pace.py", "import pydantic", "the data plane needs redis alone"),
    "the domain imports redis": ("domain/routing.py", "import redis", "decisions do no I/O"),
    "the domain has a clock": ("domain/routing.py", "import time", "decisions do no I/O"),
    "the domain is asynchronous": ("domain/routing.py", "import asyncio", "decisions do no I/O"),
    "a reconciler imports kopf": ("reconcile/status.py", "import kopf", "only the handlers know kopf"),
    "the entry point imports typer": ("__main__.py", "import typer", "the entry point runs without any extra"),
}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(tree / "operator"), "COLUMNS": "200"}
    return subprocess.run(command, check=False, cwd=tree, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of the code that a test may spoil."""
    shutil.copy(REPO / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPO / "operator", tmp_path / "operator", ignore=ignored)
    return tmp_path


def test_all_contracts_are_kept():
    done = lint_imports(REPO)
    assert done.returncode == 0, done.stdout
    assert [name for name in CONTRACTS if f"{name} KEPT" not in done.stdout] == []
    assert f"{len(CONTRACTS)} kept, 0 broken" in done.stdout


@pytest.mark.parametrize("case", BROKEN_BY)
def test_a_contract_is_broken_when(tree, case):
    file, statement, contract = BROKEN_BY[case]
    spoilt = tree / "operator" / "stateful_route" / file
    spoilt.parent.mkdir(exist_ok=True)
    before = spoilt.read_text() if spoilt.exists() else ""
    spoilt.write_text(f"{before}\n{statement}\n")
    done = lint_imports(tree)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout


def test_each_contract_has_a_case_that_breaks_it():
    assert {contract for _, _, contract in BROKEN_BY.values()} == set(CONTRACTS)
