"""The Python on the pages fits the library: each block is a module that type-checks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted([REPO / "README.md", *REPO.glob("docs/*.md"), *REPO.glob("docs/how-to/*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def blocks() -> dict[str, str]:
    """A module's name, by the page and the line of its block → the code."""
    found = {}
    for page in PAGES:
        text = page.read_text()
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            found[f"{page.stem.replace('-', '_')}_{line}"] = block[1]
    return found


BLOCKS = blocks()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_a_whole_module(name):
    compile(BLOCKS[name], name, "exec")


def test_every_block_type_checks_against_the_library(tmp_path):
    files = []
    for name, code in BLOCKS.items():
        path = tmp_path / f"{name}.py"
        path.write_text(code)
        files.append(path)
    assert len(files) > 5
    options = ["--config-file", REPO / "pyproject.toml", "--follow-imports=silent"]
    command = [sys.executable, "-m", "mypy", *options, *files]
    done = subprocess.run(command, check=False, cwd=REPO, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
