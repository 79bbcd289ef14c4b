"""The part of a StatefulRoute's spec that callers and pods need, as the operator leaves it in the store."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from stateful_route.domain.aliveness import Heartbeat
from stateful_route.domain.placement import Placement, Strategy
from stateful_route.domain.policy import OnLoss

T = TypeVar("T")


class ServiceConfig(NamedTuple):
    """How a service is routed; the defaults are the reference's (§9), for a service without an operator.

    Attributes:
        heartbeat: Whether pods must publish their state to count as alive.
        expire_seconds: How old a published state may be.
        placement: Where new uids go.
        temporary_seconds: How long a link lives that a caller has made.
        retain_seconds: How long a removed link is still found.
        on_replace: What becomes of a pod's links when another pod takes its name.
    """

    heartbeat: Heartbeat = Heartbeat.AUTO
    expire_seconds: float = 60.0
    placement: Placement = Placement()
    temporary_seconds: int = 300
    retain_seconds: int = 60
    on_replace: OnLoss = OnLoss.MOVE

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Self:
        """The configuration in the hash ``…#cfg``; a field that is absent or unreadable has its default."""
        normal, place = cls(), Placement()
        return cls(
            heartbeat=_read(fields, "heartbeat", Heartbeat, normal.heartbeat),
            expire_seconds=_read(fields, "expireSeconds", _positive, normal.expire_seconds),
            placement=Placement(
                strategy=_read(fields, "strategy", Strategy, place.strategy),
                load_range=_read(fields, "loadRange", float, place.load_range),
                weights=_read(fields, "weights", _weights, place.weights),
                max_links=_read(fields, "maxLinksPerPod", int, place.max_links),
            ),
            temporary_seconds=_read(
                fields, "temporaryTTLSeconds", lambda text: int(_positive(text)), normal.temporary_seconds
            ),
            retain_seconds=_read(fields, "retainAfterRemoveSeconds", int, normal.retain_seconds),
            on_replace=_read(fields, "onReplace", OnLoss, normal.on_replace),
        )


def _read(fields: Mapping[str, str], name: str, convert: Callable[[str], T], otherwise: T) -> T:
    try:
        return convert(fields[name])
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return otherwise


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 2**31:
        raise ValueError(text)
    return number


def _weights(text: str) -> Mapping[int, int]:
    found: Mapping[str, Any] = json.loads(text)
    return {int(ordinal): int(weight) for ordinal, weight in found.items()}
