"""Round trips to a store, as a `Meter` hears of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.meter import MIGRATE, READ, WRITE, Meter, failure_of
from stateful_route.store.failures import as_ours
from stateful_route.store.scripts import Call

ANSWERS = ("OWNED ", "REPLACED", "FOREIGN ")
"""How scripts refuse what must not be: the store is well."""


def operation_of(calls: Sequence[Call]) -> str:
    """The class of a round trip that carries these calls: that of the heaviest."""
    operation = READ
    for call in calls:
        if call.script.name == "migrateLinks":
            return MIGRATE
        if call.script.writes:
            operation = WRITE
    return operation


def note_trip(meter: Meter, operation: str, began: float, replies: Sequence[Any]) -> None:
    """One round trip has ended; of several calls that failed for the same reason one counts."""
    meter.round_trip(operation, monotonic() - began)
    failed = [reply for reply in replies if isinstance(reply, Exception) and not str(reply).startswith(ANSWERS)]
    for failure in {failure_of(as_ours(error, "")) for error in failed}:
        meter.store_failed(operation, failure)


@contextmanager
def metered(meter: Meter, operation: str) -> Iterator[None]:
    """One round trip, which raises our errors."""
    began = monotonic()
    try:
        yield
    except StatefulRouteError as error:
        meter.store_failed(operation, failure_of(error))
        raise
    finally:
        meter.round_trip(operation, monotonic() - began)
