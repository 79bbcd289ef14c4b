"""What the project does with a store, one operation after the other: what `tools/matrix.py` tries on each server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import redis

from stateful_route import StatefulRoute
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.resources import shipped
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import purge
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates, set_link_if_absent
from stateful_route.store.migrate import Batch
from stateful_route.store.reading import read_links
from stateful_route.store.scripts import script, timed
from stateful_route.store.server import check_server
from stateful_route.store.states import (
    claim,
    get_hints,
    get_service,
    refresh_states,
    release,
    remove_states,
    report_unreachable,
    set_operator_states,
    set_state,
)
from stateful_route.store.taking import Bid, TakeOutcome, Which, take_link
from stateful_route.store.tenure import ElectedStore, Tenure

OPTIONS = StoreOptions(timeout_seconds=2, deadline_seconds=3, retries=1)
LEASE_SECONDS = 10.0
FOLLOW_SECONDS = 12.0
WOKEN_SECONDS = 1.0
OWNER = "cluster/route"
NAMESPACE = "matrix"


class Failed(Exception):  # noqa: N818  names the fact
    """The server has answered, but not as the project needs it."""


def holds(what: str, fact: object) -> None:
    """See that something is as it should be.

    Raises:
        Failed: it is not.
    """
    if not fact:
        raise Failed(what)


def load_scripts(port: int) -> None:
    """Every script as it is sent, with and without a deadline, is taken by the server on that port of this machine."""
    with redis.Redis(port=port, protocol=2, socket_timeout=5) as client:
        for file in sorted(entry.name for entry in shipped("lua").iterdir() if entry.name.endswith(".lua")):
            one = script(file.removesuffix(".lua"))
            for sent in (one, timed(one)):
                client.script_load(sent.source)


async def links(url: str) -> None:
    """Links are made, found, kept, read, fenced and removed."""
    service = Service(NAMESPACE, "links")
    async with StatefulExecutor.from_url(url, OPTIONS) as executor:
        for uid in (f"user-{n}" for n in range(20)):  # on a Cluster: on all nodes
            of = (NAMESPACE, uid, service.name)
            first = await executor.set_link(*of, 1)
            computed = await executor.compute_link_if_absent(*of, Candidates({2: 0.0}), 300)
            holds("a link that is there is found", computed is not None and computed.ordinal == 1)
            moved = await executor.compute_link_if_absent(*of, Candidates({2: 0.0}, frozenset({1})), 300)
            holds("a dead pod's uid gets another pod, and a later epoch", moved and moved.epoch > first.epoch)
            found, refused = await read_links(await executor.store(), service, [uid])
            for error in refused.values():
                raise error
            link = found[uid]
            holds("a link is read", link is not None and (link.ordinal, link.persistent) == (2, False))
            holds("the owner is the owner", await executor.is_owner(*of, 2, moved.epoch if moved else 0))
            holds("a former owner is fenced off", not await executor.is_owner(*of, 1, first.epoch))
            holds("a link is removed", await executor.remove_linked_pod(*of))
            holds("a link that was removed is gone", await executor.get_link(*of) is None)


async def moves(url: str) -> None:
    """Links are migrated, and the stream of moves tells of it; then all are purged."""
    service = Service(NAMESPACE, "moves")
    async with StatefulExecutor.from_url(url, OPTIONS) as executor:
        store = await executor.store()
        link = await executor.set_link(NAMESPACE, "ada", service.name, 1)
        batch = Batch(service.bucket("ada"), ["ada"], [2])
        (moved,) = await executor.migrate(NAMESPACE, service.name, 1, [batch], reason="Drained")
        holds("the epoch rises", moved.epoch > link.epoch)
        entries = await store.command("XRANGE", service.moves, "-", "+")
        told = [fields for _, fields in entries]
        holds("the move is told", any(f'["ada",2,{moved.epoch}]'.encode() in _flat(fields) for fields in told))
        purged = await purge(store, service)
        holds("a purge deletes the links", purged.deleted == 1)


async def states(url: str) -> None:
    """Pods' states, the operator's beside them, hints and snapshots, from the claim to the release."""
    service = Service(NAMESPACE, "states")
    async with StatefulExecutor.from_url(url, OPTIONS) as executor:
        store = await executor.store()
        await claim(store, service, OWNER, {"heartbeat": "Auto"})
        await set_state(store, service, 1, RoutingState.READY, load=2.5)
        draining = OperatorRecord(state=RoutingState.DENY_NEW_CALL, reason=Reason.TERMINATING)
        await set_operator_states(store, service, OWNER, {1: draining, 2: draining})
        found = await get_service(store, service)
        holds("the operator's word counts", found.pods[1].effective is RoutingState.DENY_NEW_CALL)
        holds("the operator's own entries are renewed", await refresh_states(store, service, OWNER, [1, 2]) == 1)
        await report_unreachable(store, service, 1)
        holds("a hint is kept", set(await get_hints(store, service)) == {1})
        holds("pods that are gone are forgotten", await remove_states(store, service, OWNER, [2, 3]) == 1)
        holds("the service is released", await release(store, service, OWNER))


async def pods(url: str) -> None:
    """A pod takes uids, and no epoch is given twice."""
    service = Service(NAMESPACE, "pods")
    async with StatefulExecutor.from_url(url, OPTIONS) as executor:
        store = await executor.store()
        taken = await take_link(store, service, "ada", 1, Bid(Which.ANY))
        again = await take_link(store, service, "ada", 1, Bid(Which.NAMED))
        refused = await take_link(store, service, "ada", 2, Bid(Which.UNOWNED))
        same = await take_link(store, service, "ada", 1, Bid(Which.SAME, taken.epoch))
        outcomes = [one.outcome for one in (taken, again, refused, same)]
        expected = [TakeOutcome.TAKEN, TakeOutcome.STANDING, TakeOutcome.REFUSED, TakeOutcome.TAKEN]
        holds("a uid is taken and kept", outcomes == expected)
        holds("the epoch is a new one", (same.epoch or 0) > (taken.epoch or 0))


async def callers(url: str) -> str | None:
    """A caller that knows a user's pod hears that the user has moved, and follows at once; else: after how long."""
    service = Service(NAMESPACE, "callers")
    async with (
        StatefulExecutor.from_url(url, OPTIONS) as executor,
        StatefulRoute(StatefulExecutor.from_url(url, OPTIONS)) as route,
    ):
        for pod in (1, 2):
            await executor.set_service_state(NAMESPACE, service.name, pod, RoutingState.READY)
        known = await route.client.compute_linked_pod(NAMESPACE, "ada", service.name)
        await asyncio.sleep(0.3)  # it subscribes meanwhile
        target = 3 - known
        batch = Batch(service.bucket("ada"), ["ada"], [target])
        await executor.migrate(NAMESPACE, service.name, known, [batch], reason="Rebalance")
        began = time.monotonic()
        while await route.client.compute_linked_pod(NAMESPACE, "ada", service.name) != target:
            holds(f"no caller follows within {FOLLOW_SECONDS:g} s", time.monotonic() - began < FOLLOW_SECONDS)
            await asyncio.sleep(0.01)
        lasted = time.monotonic() - began
    return None if lasted < WOKEN_SECONDS else f"after {lasted:.0f} s"


async def elected(url: str) -> None:
    """An operator that is elected writes with a deadline by the server's clock."""
    tenure = Tenure()
    store = ElectedStore.under(tenure, url, OPTIONS)
    try:
        await check_server(store)
        with tenure.renewing():
            tenure.extend(time.monotonic() + LEASE_SECONDS, await tenure.note(2), LEASE_SECONDS)
        await set_link_if_absent(store, Service(NAMESPACE, "elected"), "ada", 1, 300)
    finally:
        await store.close()


CHECKS: dict[str, Callable[[str], Awaitable[str | None]]] = {
    "links": links,
    "moves": moves,
    "states": states,
    "pods": pods,
    "callers": callers,
    "elected": elected,
}
"""Title of the column → what is tried; gives words for the table, None: it works. Raises what went wrong."""


@contextmanager
def naming_failures() -> Iterator[None]:
    """Turn whatever goes wrong into `Failed`, with words for a table."""
    try:
        yield
    except Failed:
        raise
    except Exception as error:
        raise Failed(f"{type(error).__name__}: {error}") from error


def _flat(fields: list[bytes] | dict[bytes, bytes]) -> bytes:
    return b" ".join(fields.values() if isinstance(fields, dict) else fields)
