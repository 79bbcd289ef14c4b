"""Cells of the matrix *topology × fault* with an operator at work: it follows its store as callers and pods do."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from stateful_route.devcluster.embedded_store import StoreServer, find_servers
from support.operator_cell import endure
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import Scene
from support.topologies.cluster import SixNodes, six_nodes
from support.topologies.sentinel import Sentinels, three_sentinels
from support.topologies.topology import Topology
from support.topologies.vip import Vip, vip

StartOperator = Callable[..., OperatorProcess]
Recovers = Callable[..., Awaitable[None]]

LEASE = "stateful-route"
STAYS = "localhost"
"""A name that leads to a server wherever else that listens (`movable.MANAGED_AT`)."""
LATE_SECONDS = 20.0
"""So long after the topology's own detection the operator has done its work, on a machine that is busy otherwise."""
RESYNC_SECONDS = 50
"""No full pass comes to the operator's help."""


@pytest.fixture
def kind() -> StoreServer:
    """The server that all machines have: clients are what is tested here."""
    return find_servers()[0]


@pytest.fixture
def sentinels(kind: StoreServer, tmp_path: Path) -> Iterator[Sentinels]:
    with three_sentinels(kind, tmp_path) as running:
        yield running


@pytest.fixture
async def address(kind: StoreServer) -> AsyncIterator[Vip]:
    async with vip(kind) as running:
        yield running


@pytest.fixture
def cluster(kind: StoreServer) -> Iterator[SixNodes]:
    with six_nodes(kind) as running:
        yield running


@pytest.fixture(params=["alone", "elected"])
def elected(request: pytest.FixtureRequest) -> bool:
    """Whether it leads by a Lease, and its writes carry deadlines."""
    return bool(request.param == "elected")


@pytest.fixture
def recovers(
    scene: Scene,
    start_operator: StartOperator,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Recovers:
    """Let a fault strike an operator's store: ``await recovers(topology, strike, elected=False, url=None)``."""

    async def check(
        topology: Topology, strike: Callable[[], None], *, elected: bool = False, url: str | None = None
    ) -> None:
        port = free_port()
        election = {"lease_name": LEASE, "lease_namespace": scene.namespace} if elected else {}
        settings = {"resync_seconds": RESYNC_SECONDS, "health_port": port, **election}
        operator = start_operator(scene, redis_url=url or topology.url, **settings)
        outcome = await endure(scene, operator, port, topology, strike)
        with capsys.disabled():
            print(f"\n  {request.node.name}: {', '.join(f'{k} {v}' for k, v in outcome.figures().items())}")
        assert not outcome.falsely_ready, "it had to know that it cannot reach its store"
        assert outcome.moved - outcome.detected < LATE_SECONDS
        if elected:
            assert len(operator.lines("leading")) == 1
            assert not operator.lines("leadership lost")

    return check


async def test_an_operator_follows_when_the_primary_is_killed(
    sentinels: Sentinels, recovers: Recovers, *, elected: bool
) -> None:
    await recovers(sentinels, sentinels.kill, elected=elected)


@pytest.mark.parametrize("state", ["dead", "silent"])
async def test_an_operator_starts_and_follows_although_the_first_sentinel_is(
    sentinels: Sentinels, recovers: Recovers, state: str
) -> None:
    """From before its start on; then the primary is killed, too."""
    first = sentinels.sentinels[0]
    if state == "dead":
        first.kill()
    else:
        first.pause()
    await recovers(sentinels, sentinels.kill)


async def test_an_operator_follows_when_an_address_leads_to_the_replica_and_the_primary_lives_on(
    address: Vip, recovers: Recovers, *, elected: bool
) -> None:
    await recovers(address, address.swap, elected=elected)


async def test_an_operator_follows_when_an_address_leads_to_the_replica_of_a_killed_primary(
    address: Vip, recovers: Recovers
) -> None:
    await recovers(address, address.kill, elected=True)


async def test_an_operator_follows_when_an_address_leads_to_the_replica_of_a_frozen_primary(
    address: Vip, recovers: Recovers
) -> None:
    await recovers(address, address.freeze, elected=True)


async def test_an_operator_follows_when_all_nodes_of_a_cluster_change_their_addresses(
    cluster: SixNodes, recovers: Recovers, *, elected: bool
) -> None:
    """Its URL names a host that stays, as a Service's, and leads to one of them wherever that is."""
    await recovers(
        cluster, cluster.move_at_once, elected=elected, url=f"redis+cluster://{STAYS}:{cluster.primary_port}"
    )


async def test_an_operator_follows_when_a_primary_of_a_cluster_is_killed(cluster: SixNodes, recovers: Recovers) -> None:
    await recovers(cluster, cluster.kill, elected=True)
