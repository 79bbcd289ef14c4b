"""The operator's record of one pod, as it stands in Redis beside the service state."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, TypeVar

from stateful_route.domain.incarnation import UNKNOWN_CONTAINER, Container, Incarnation
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
        unready_since: Since when it has not been Ready, ms by the clock of Redis; None: it is Ready.
        ready_changed: When it last became Ready or ceased to be, as its kubelet says, in seconds since the epoch; None:
            nobody says.
        kubelet_behind: By how many ms the clock of Redis is later than its kubelet's at most; None: not known.
        unreachable_since: Since when it has not answered the operator's own probe, likewise; None: no such finding.
        before: Links with a lower epoch were made for an earlier incarnation and remain to be dealt with; None: none.
        loss: Why ``before`` is set: `Reason.REPLACED` or `Reason.RESTARTED`; else None.
        address: ``host:port`` or host for callers; None: unknown.
        links: What becomes of the pod's links.
        count: How many links it had at the last count.
        since: When state or reason last changed, ms by the clock of Redis; 0: not written yet, or they change now.
        app_word: What the app last said by itself; None: nothing.
        written: The effective state as the script last wrote it; None: not written yet.
        release: Until then (ms by the clock of Redis) the app itself gives its uids away; None: it is not asked to.
        former: Uids of pods of this ordinal that were replaced, the latest first: they must not publish any more.
        container: Which container the incarnation is.
        heard: The update time of the app's word that stood when the incarnation was first seen: it is an earlier one's.
        begun: When the app of this incarnation spoke first, as it says itself; None: it has not been heard.
        serves: The incarnation served already when it was first seen: only links from ``before`` leave it.
        served: The pod has been Ready once, in this incarnation or an earlier one of the same pod.
        added: It came when failovers of the service were being held back; the brake does not count it until that ends.
        stops: Its preStop hook has said that it stops: until then, ms by the clock of Redis, that counts, as the script
            found it when it wrote last; None: it has not.
        stops_read: The ``stops`` in the pod's entry that the operator has read, and about which it decides; the script
            does about what the operator has not read. It stands in no record.
        stranded: Its links were to move when no pod of the service served, and wait for others to be READY.
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
    ready_changed: float | None = None
    kubelet_behind: int | None = None
    container: Container = UNKNOWN_CONTAINER
    heard: int | None = None
    begun: int | None = None
    serves: bool = False
    former: tuple[str, ...] = ()
    served: bool = False
    added: bool = False
    stranded: bool = False
    stops: int | None = None
    stops_read: int | None = None

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
                ready_changed=_optional(data, "readyChanged", float),
                kubelet_behind=_optional(data, "kubeletBehind", int),
                container=_optional(data, "container", Container.parse) or UNKNOWN_CONTAINER,
                heard=_optional(data, "heard", int),
                begun=_optional(data, "begun", int),
                serves=bool(data.get("serves")),
                former=tuple(map(str, data.get("former") or ())),
                served=bool(data.get("served", data.get("everReady"))),
                added=bool(data.get("added")),
                stranded=bool(data.get("stranded")),
                stops=_optional(data, "stops", int),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None

    @property
    def decision(self) -> tuple[object, ...]:
        """What the operator decides; two records that agree in it need no write (the count alone is no reason)."""
        times = (self.unready_since, self.unreachable_since, self.ready_changed)
        seen = (self.ever_ready, self.served, self.added, self.serves, self.stranded)
        life = (self.incarnation, self.container, *seen, *times, self.before, self.loss)
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
            "readyChanged": self.ready_changed,
            "kubeletBehind": self.kubelet_behind,
            "container": self.container if any(self.container) else None,
            "begun": self.begun,
            "serves": self.serves or None,
            "served": self.served,
            "added": self.added or None,
            "stranded": self.stranded or None,
            "since": self.since or None,
            "stops": self.stops,
            "stopsRead": self.stops_read,
        }
        return json.dumps({name: value for name, value in data.items() if value is not None}, separators=(",", ":"))


def _reason(word: str) -> Reason:
    return Reason(word) if word in _REASONS or not isinstance(word, str) else Reason.UNKNOWN


def _optional(data: Mapping[str, Any], name: str, convert: Callable[[Any], T]) -> T | None:
    value = data.get(name)
    return None if value is None else convert(value)
