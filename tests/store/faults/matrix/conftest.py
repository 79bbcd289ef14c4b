"""Cells of the matrix *topology × fault*; on Valkey alone, which all machines have: clients are what is tested here."""

import pytest

from support.fault_cell import endure
from support.servers import SERVERS


@pytest.fixture(scope="session")
def kind():
    return SERVERS["valkey"]


@pytest.fixture
def all_recover(report):
    """Let a fault strike a topology while all work: ``await all_recover(topology, strike, heal, may_lose=True)``.

    All must work again within a generous time, nobody restarted, and nothing be lost, read wrongly or had twice.
    """

    async def check(topology, strike, heal=None, *, may_lose=False):
        outcome = await endure(topology, strike, heal, may_lose=may_lose)
        report(**outcome.figures())
        assert outcome.faults() == []

    return check
