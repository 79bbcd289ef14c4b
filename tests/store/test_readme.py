"""The README's Python runs as it stands, on a real server."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from stateful_route.store.executor import StatefulExecutor

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
URL = "redis://127.0.0.1:6379"
CALLER, POD = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
DOWNWARD_API = {"POD_NAME": "rooms-2", "POD_NAMESPACE": "default", "POD_UID": "7d7a"}


def started(code: str, url: str) -> subprocess.Popen[str]:
    assert code.count(URL) == 1
    command = [sys.executable, "-c", code.replace(URL, url)]
    environment = os.environ | DOWNWARD_API
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def heeds(process: subprocess.Popen[str], number: int) -> bool:
    """Whether the process has a handler for the signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", status, flags=re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


async def ended(process: subprocess.Popen[str]) -> str:
    output, errors = await asyncio.to_thread(process.communicate, timeout=120)
    assert process.returncode == 0, errors
    return output


async def test_the_caller_finds_alice_a_pod_and_says_where(server, raw):
    async with StatefulExecutor.from_url(server.url) as executor:
        await executor.set_service_state("default", "rooms", 2, "READY")
    assert await ended(started(CALLER, server.url)) == "alice is at rooms-2.rooms.default.svc\n"
    assert await raw.get("sf:{default:lk:alice}rooms") == "2"
    assert 290 < await raw.ttl("sf:{default:lk:alice}rooms") <= 300


async def test_the_pod_takes_alice_and_saves_her_when_it_is_terminated(server, raw, eventually):
    process = started(POD, server.url)

    async def it_waits_for_the_end() -> bool:
        return heeds(process, signal.SIGTERM)

    await eventually(it_waits_for_the_end)
    assert await raw.get("sf:{default:lk:alice}rooms") == "2"
    assert await raw.ttl("sf:{default:lk:alice}rooms") == -1
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == "serve her\nalice is saved\n"
    assert await raw.get("sf:{default:lk:alice}rooms") is None
    assert '"SHUTDOWN"' in await raw.hget("sf:{default:state:rooms}", "2")
