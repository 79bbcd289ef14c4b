"""Processes that are measured: the operator, and an empty one with the same imports."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.bed import Bed

EMPTY = """
import asyncio, kopf, kubernetes.aio.client.api_client
from kubernetes.aio.client.api.core_v1_api import CoreV1Api


@kopf.on.event("", "v1", "pods")
async def on_pod(**_): ...

@kopf.on.startup()
async def on_startup(settings, **_):
    settings.posting.enabled = False

asyncio.run(kopf.operator(standalone=True, namespaces=["NAMESPACE"]))
"""


@contextmanager
def operator(bed: Bed, namespace: str) -> "Iterator[psutil.Process]":
    """The operator, serving one namespace with the default periods."""
    words = [sys.executable, "-m", "stateful_route", "operator", "--health-port", "0", "--namespaces", namespace]
    words += ["--metrics-port", "0", "--kubeconfig", str(bed.control_plane.kubeconfig), "--redis-url", bed.store.url]
    with running(words) as process:
        yield process


@contextmanager
def empty(bed: Bed, namespace: str) -> "Iterator[psutil.Process]":
    """A kopf process that watches pods and does nothing, with the client's CoreV1Api imported."""
    import os

    script = EMPTY.replace("NAMESPACE", namespace)
    environment = {**os.environ, "KUBECONFIG": str(bed.control_plane.kubeconfig)}
    with running([sys.executable, "-c", script], environment) as process:
        yield process


@contextmanager
def running(words: list[str], environment: dict[str, str] | None = None) -> "Iterator[psutil.Process]":
    """A process for a while; its output is shown when it ends by itself."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            yield psutil.Process(process.pid)
            if process.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"it ended with {process.returncode}: {log.read()[-2000:].decode()}")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
