"""Runs histories: one world each, on one real server for all of them."""

import gc
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model import adapter
from model.clock import ServerClock, VirtualLoop, monotonic_is
from model.judge import PROMISES, Broken
from model.steps import Step, take
from model.wire import Network
from model.world import Setup, World, chance_is
from stateful_route.devcluster.embedded_store import EmbeddedStore


@dataclass
class Counts:
    """What was done so far; ``first``: the first promise that was broken, and when."""

    first: str = ""
    histories: int = 0
    steps: int = 0
    virtual_seconds: float = 0.0


@contextmanager
def real_server() -> Iterator[Network]:
    """A server with the model's clock, and the way to it."""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        clock = ServerClock(Path(folder))
        socket = str(Path(folder) / "socket")
        store = EmbeddedStore(arguments=("--unixsocket", socket))
        try:
            with clock.for_children():
                store.start()
            network = Network(socket, clock)
            try:
                yield network
            finally:
                network.close()
        finally:
            store.close()
            clock.close()


def run(
    network: Network,
    setup: Setup,
    steps: Sequence[Step],
    promises: Sequence[str] = PROMISES,
    counts: Counts | None = None,
) -> None:
    """One history; raises `Broken` with the whole story where a promise is."""
    counts = counts or Counts()
    counts.histories += 1
    before = counts.steps
    loop = VirtualLoop()
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    gc_was = gc.isenabled()
    gc.disable()  # what it would find is found at no certain step
    with monotonic_is(loop, adapter.PACKAGES), chance_is(1):
        world = World(network, loop, setup, tuple(promises))
        try:
            world.judge.verdict()
            for step in steps:
                counts.steps += 1
                take(world, step)
            world.story.append(f"{world.now - 1000:9.3f}  all come to rest, connected")
            world.settle()
            world.judge.verdict()
        except Broken as broken:
            if not counts.first:
                counts.first = f"{broken.promise} after {counts.steps} steps in {counts.histories} histories"
            told = type(broken)(f"{broken}\n{setup}\n" + "\n".join(world.story))
            told.taken = counts.steps - before
            raise told from None
        finally:
            counts.virtual_seconds += world.now - 1000
            world.close()
            logging.disable(disabled)
            if gc_was:
                gc.enable()
