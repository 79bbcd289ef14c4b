"""Which pods callers may use: by the operator's record, the app's record, and the heartbeat policy (design §3)."""

import json
import math
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import RoutingState, effective


class Heartbeat(StrEnum):
    """Whether a pod must publish its own state to count as alive."""

    AUTO = "Auto"
    """It must, once an app record of this incarnation exists."""
    REQUIRED = "Required"
    IGNORED = "Ignored"


class Author(StrEnum):
    """Who wrote a service state record."""

    APP = "app"
    OPERATOR = "op"
    FOREIGN = "foreign"


class ServiceState(NamedTuple):
    """One pod's record in the main hash: load, routing state, update time in ms since the epoch, and its author."""

    load: float
    routing_state: RoutingState
    update_time: int
    author: Author = Author.FOREIGN
    word: RoutingState | None = None
    """What the app itself last said; only in an app record."""
    incarnation: str | None = None
    """``<pod uid>/<restarts>``, or the pod's uid alone where the app does not know how often it was restarted."""
    since: int | None = None
    """When that incarnation spoke first, ms since the epoch; None: it does not say."""
    lives: int | None = None
    """How many processes of that pod have spoken first; None: not known."""
    stops: int | None = None
    """Its preStop hook has said that it stops: until then, ms since the epoch, that counts; None: it has not."""

    @classmethod
    @lru_cache(maxsize=64)  # the entries that the operator writes for silent pods are all alike
    def from_json(cls, text: str | bytes) -> Self | None:
        """The record in ``text``, or None when it does not parse (a foreign writer's mistake)."""
        try:
            data: dict[str, Any] = json.loads(text)
            word = data.get("app")
            author = Author.OPERATOR if data.get("op") is True else Author.FOREIGN if word is None else Author.APP
            load, life = float(data.get("state", 0)), data.get("inc")
            if not math.isfinite(load):
                return None
            return cls(
                load=load,
                routing_state=RoutingState(data["routingState"]),
                update_time=int(data.get("updateTime", 0)),
                author=author,
                word=None if word is None else RoutingState(word),
                incarnation=life if isinstance(life, str) else None,
                since=_whole(data.get("since")),
                lives=_whole(data.get("lives")),
                stops=_whole(data.get("stops")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class PodView(NamedTuple):
    """What a reader knows of one pod; ``age_seconds`` is how old the state record is (None: it has none)."""

    state: ServiceState | None
    record: OperatorRecord | None
    age_seconds: float | None

    @property
    def effective(self) -> RoutingState:
        """The more severe of what the main hash says and what the operator says: right also over a foreign writer."""
        state, record = self.state, self.record
        if state is None:
            return RoutingState.SHUTDOWN if record is None else record.state
        return state.routing_state if record is None else effective(state.routing_state, record.state)

    @property
    def is_foreign(self) -> bool:
        """True when a foreign client has written the state record."""
        return self.state is not None and self.state.author is Author.FOREIGN


def foreign_word(view: PodView) -> RoutingState | None:
    """What a foreign client says of its pod, as the script operatorSetStates tells it; None: it echoes the operator.

    ``view`` is that of a foreign record.
    """
    state, record = view.state, view.record
    if state is None:
        return None
    ours = record is not None and record.written is not None and state.routing_state is record.written
    if record is None or not ours or record.state.severity < state.routing_state.severity:
        return state.routing_state
    return record.app_word


def is_alive(view: PodView, heartbeat: Heartbeat, expire_seconds: float) -> bool:
    """True when the pod still serves the uids that it has (it may be denying new ones)."""
    return view.effective is not RoutingState.SHUTDOWN and not is_silent(view, heartbeat, expire_seconds)


def is_silent(view: PodView, heartbeat: Heartbeat, expire_seconds: float) -> bool:
    """True when the pod must publish its own state to count as alive, and has not for ``expire_seconds`` or ever."""
    if _heartbeats(view) and view.age_seconds is not None and view.age_seconds < expire_seconds:
        return False
    if view.record is None:
        return True
    match heartbeat:
        case Heartbeat.IGNORED:
            return False
        case Heartbeat.REQUIRED:
            return True
        case Heartbeat.AUTO:
            return _own_heartbeat_expected(view)


def is_routable(view: PodView, heartbeat: Heartbeat, expire_seconds: float) -> bool:
    """True when new uids may be linked to the pod: alive and READY."""
    return view.effective is RoutingState.READY and is_alive(view, heartbeat, expire_seconds)


def _heartbeats(view: PodView) -> bool:
    return view.state is not None and view.state.author is not Author.OPERATOR


def _own_heartbeat_expected(view: PodView) -> bool:
    state, record = view.state, view.record
    if state is None or record is None or state.author is not Author.APP:
        return False
    life = record.incarnation
    return life is None or state.incarnation in {None, str(life), life.pod_uid}
