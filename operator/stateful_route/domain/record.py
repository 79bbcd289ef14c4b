"""The operator's record of one pod, as it stands in Redis beside the service state."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, TypeVar

from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.routing import LinkAction, Reason, RoutingState

T = TypeVar("T")

_REASONS = frozenset(Reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecord:
    """The operator's layer of one pod and what it must remember about it (the hash ``…#op``).

    Attributes:
        state: The operator's layer; the effective state is the more severe of it and the app's word.
        incarnation: The life of the pod that this record is about; None: no pod has been seen.
        ever_ready: This incarnation has been Ready once.
        unready_since: Since when it has not been Ready, in ms since the Unix epoch; None: it is Ready.
        unreachable_since: Since when it has not answered the operator's own probe, likewise; None: no such finding.
        before: Links with a lower epoch were made for an earlier incarnation and remain to be dealt with; None: none.
        loss: Why ``before`` is set: `Reason.REPLACED` or `Reason.RESTARTED`; else None.
        address: ``host:port`` or host for callers; None: unknown.
        links: What becomes of the pod's links.
        count: How many links it had at the last count.
        since: When state or reason last changed, ms by the clock of Redis; 0: not written yet.
        app_word: What the app last said by itself; None: nothing.
        written: The effective state as the script last wrote it; None: not written yet.
        release: Until then (ms by the clock of Redis) the app itself gives its uids away; None: it is not asked to.
        former: Uids of pods of this ordinal that were replaced, the latest first: they must not publish any more.
        life_since: Since when the incarnation is known, ms by the clock of Redis; 0: from the beginning.
        added: It was not Ready yet when failovers of the service began to be held back; the brake does not count it.
    """

    state: RoutingState
    reason: Reason
    links: LinkAction = LinkAction.STAY
    incarnation: Incarnation | None = None
    ever_ready: bool = False
    unready_since: int | None = None
    before: int | None = None
    loss: Reason | None = None
    address: str | None = None
    count: int = 0
    since: int = 0
    app_word: RoutingState | None = None
    written: RoutingState | None = None
    release: int | None = None
    unreachable_since: int | None = None
    life_since: int = 0
    former: tuple[str, ...] = ()
    added: bool = False

    @classmethod
    @lru_cache(maxsize=4096)  # most records that a pass reads are as the pass before has read them
    def from_json(cls, text: str | bytes) -> Self | None:
        """The record in ``text``, or None when it does not parse (somebody else wrote it)."""
        try:
            data = json.loads(text)
            return cls(
                state=RoutingState(data["state"]),
                reason=_reason(data["reason"]),
                links=LinkAction(data.get("links", LinkAction.STAY)),
                incarnation=_optional(data, "incarnation", Incarnation.parse),
                ever_ready=bool(data.get("everReady")),
                unready_since=_optional(data, "unreadySince", int),
                before=_optional(data, "before", int),
                loss=_optional(data, "loss", Reason),
                address=_optional(data, "address", str),
                count=int(data.get("count", 0)),
                since=int(data.get("since", 0)),
                app_word=_optional(data, "appWord", RoutingState),
                written=_optional(data, "written", RoutingState),
                release=_optional(data, "release", int),
                unreachable_since=_optional(data, "unreachableSince", int),
                life_since=int(data.get("lifeSince", 0)),
                former=tuple(map(str, data.get("former") or ())),
                added=bool(data.get("added")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None

    @property
    def decision(self) -> tuple[object, ...]:
        """What the operator decides; two records that agree in it need no write (the count alone is no reason)."""
        times = (self.unready_since, self.unreachable_since)
        life = (self.incarnation, self.ever_ready, self.added, *times, self.before, self.loss)
        return (self.state, self.reason, self.links, self.address, self.release, *life)

    def decision_json(self) -> str:
        """What the operator decides, as the script wants it; the script adds the rest."""
        data: dict[str, object] = {
            "state": self.state,
            "reason": self.reason,
            "links": self.links,
            "everReady": self.ever_ready,
            "count": self.count,
            "incarnation": None if self.incarnation is None else str(self.incarnation),
            "unreadySince": self.unready_since,
            "before": self.before,
            "loss": self.loss,
            "address": self.address,
            "release": self.release,
            "unreachableSince": self.unreachable_since,
            "former": self.former or None,
            "added": self.added or None,
        }
        return json.dumps({name: value for name, value in data.items() if value is not None}, separators=(",", ":"))


def _reason(word: str) -> Reason:
    return Reason(word) if word in _REASONS or not isinstance(word, str) else Reason.UNKNOWN


def _optional(data: Mapping[str, Any], name: str, convert: Callable[[Any], T]) -> T | None:
    value = data.get(name)
    return None if value is None else convert(value)
