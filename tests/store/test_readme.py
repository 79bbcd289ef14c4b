"""The README's Python runs as it stands, on a real server."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
URL = "redis://127.0.0.1:6379"


async def run_example(url: str) -> subprocess.CompletedProcess[str]:
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    assert code.count(URL) == 1
    command = [sys.executable, "-c", code.replace(URL, url)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)


async def test_the_readmes_example_links_alice_and_says_where(server, raw):
    done = await run_example(server.url)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"alice is on rooms-2 since epoch \d+\n", done.stdout)
    assert await raw.get("sf:{default:lk:alice}rooms") == "2"
    assert 290 < await raw.ttl("sf:{default:lk:alice}rooms") <= 300


async def test_the_readmes_example_finds_alice_where_somebody_else_has_put_her(server, raw):
    await raw.set("sf:{default:lk:alice}rooms", "4")
    done = await run_example(server.url)
    assert done.stdout.startswith("alice is on rooms-4 ")
