"""The store without a server: what the scripts do that the operator, pods and callers of this model run."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rules.clocks import Time
from stateful_route.domain.aliveness import PodView, ServiceState
from stateful_route.domain.config import ServiceConfig
from stateful_route.domain.cut import Issued
from stateful_route.domain.epoch import EPOCH_START_MS
from stateful_route.domain.incarnation import FORMER, Container, Incarnation
from stateful_route.domain.meter import UNMETERED
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, RoutingState, effective
from stateful_route.store.states import Publication, ServiceView, Written

Json = dict[str, Any]


class ReplacedError(Exception):
    """A pod that speaks has a successor."""


@dataclass
class Link:
    """Where a user is: on a pod index, by an epoch."""

    ordinal: int
    epoch: int


class MemoryStore:
    """One service.

    Attributes:
        links: User → link.
        config: What the operator has left for callers.
    """

    meter = UNMETERED

    def __init__(self, time: Time, config: ServiceConfig) -> None:
        self._time = time
        self.config = config
        self.links: dict[str, Link] = {}
        self._states: dict[int, Json] = {}
        self._records: dict[int, Json] = {}
        self._read_states: dict[int, ServiceState | None] = {}
        self._read_records: dict[int, OperatorRecord | None] = {}
        self._highest = 0

    # Links

    def next_epoch(self) -> int:
        """As lib/epoch.lua, with one bucket."""
        self._highest = max(self._highest + 1, self._time.store_ms - EPOCH_START_MS)
        return self._highest

    def issued(self) -> Issued:
        """As `issued_epochs`."""
        ahead = self._highest + EPOCH_START_MS - self._time.store_ms if self._highest else 0
        return Issued(self._highest, max(0, ahead))

    def counts(self) -> Counter[int]:
        """Pod index → links."""
        return Counter(link.ordinal for link in self.links.values())

    # States

    def state(self, ordinal: int) -> ServiceState | None:
        """What stands in the main hash."""
        return self._read_states.get(ordinal)

    def record(self, ordinal: int) -> OperatorRecord | None:
        """What the operator has written."""
        return self._read_records.get(ordinal)

    def view(self, ordinal: int) -> PodView:
        """As `get_service_pod`."""
        state = self.state(ordinal)
        age = None if state is None else max(0.0, (self._time.store_ms - state.update_time) / 1000)
        return PodView(state, self.record(ordinal), age)

    def views(self) -> dict[int, PodView]:
        """Of all pods."""
        return {ordinal: self.view(ordinal) for ordinal in sorted({*self._states, *self._records})}

    def read(self) -> ServiceView:
        """As `get_service`."""
        return ServiceView(self._time.store_ms, "owner", self.views(), frozenset(), self.config)

    def write(self, decisions: Mapping[int, OperatorRecord]) -> Written:
        """As operatorSetStates.lua."""
        for ordinal, decision in decisions.items():
            self._merge(ordinal, json.loads(decision.decision_json()))
        records = {o: record for o in decisions if (record := self.record(o)) is not None}
        return Written(self._time.store_ms, records, frozenset())

    def _merge(self, ordinal: int, new: Json) -> None:
        old, state, now = self._records.get(ordinal), self._states.get(ordinal), self._time.store_ms
        same = old is None or _same_life(old, new)
        if same:
            new["heard"] = old.get("heard") if old else None
        elif state and state.get("app") and not new.get("begun"):
            new["heard"] = state["updateTime"]
        word = _app_word(state, new)
        new["appWord"] = word
        if word and state and state.get("since"):
            new["begun"] = state["since"]
        elif same and old and old.get("begun"):
            new["begun"] = old["begun"]
        written = effective(RoutingState(new["state"]), RoutingState(word) if word else None)
        stays = old is not None and (old["state"], old["reason"]) == (new["state"], new["reason"])
        new["since"] = (new.get("since") or old["since"]) if stays and old else now
        new["former"] = _former(new, old, same=same)
        if state is not None and state.get("op") is not True:
            self._put(ordinal, state | {"routingState": written.value})
        else:
            self._put(ordinal, {"state": 0, "routingState": written.value, "updateTime": now, "op": True})
        new["written"] = written.value
        self._records[ordinal] = record = {name: value for name, value in new.items() if value is not None}
        self._read_records[ordinal] = OperatorRecord.from_json(json.dumps(record))

    def _put(self, ordinal: int, state: Json) -> None:
        self._states[ordinal] = state
        self._read_states[ordinal] = ServiceState.from_json(json.dumps(state))

    def refresh(self, ordinals: Sequence[int]) -> None:
        """As operatorRefreshStates.lua."""
        for ordinal in ordinals:
            if (state := self._states.get(ordinal)) and state.get("op"):
                self._put(ordinal, state | {"updateTime": self._time.store_ms})

    def remove(self, ordinals: Sequence[int]) -> None:
        """As operatorRemoveStates.lua."""
        for ordinal in ordinals:
            for kept in (self._states, self._records, self._read_states, self._read_records):
                kept.pop(ordinal, None)

    def publish(self, ordinal: int, said: Publication) -> int:
        """As statefulSetState.lua; when this life of the pod began to speak.

        Raises:
            ReplacedError: it has a successor.
        """
        now, state, record = self._time.store_ms, self._states.get(ordinal), self._records.get(ordinal)
        life = said.incarnation
        told, known = (state or {}).get("former", []), (record or {}).get("former", [])
        if life in {*told, *known}:
            raise ReplacedError
        before = (state or {}).get("inc") or life
        other, former = before != life, list[str]()
        if other:
            former.append(before)
            if not said.begins and (state or {}).get("since", 0) >= (said.since_ms or 0):
                raise ReplacedError
        former += [uid for uid in told if uid not in former]
        layers = (said.word, RoutingState(record["state"]) if record else None)
        new: Json = {
            "state": said.load,
            "routingState": effective(*layers).value,
            "updateTime": now,
            "app": said.word.value,
            "inc": life,
        }
        since, lives = said.since_ms, None if other or not state else state.get("lives")
        if said.begins:
            since = max(now, (state or {}).get("since", 0) + 1)
            first = state is None or state.get("op") is True or other
            lives = 1 if first else lives + 1 if lives else None
        new |= {name: value for name, value in (("lives", lives), ("since", since)) if value is not None}
        if former:
            new["former"] = former[:FORMER]
        self._put(ordinal, new)
        return since or 0

    def asked_until(self, ordinal: int) -> int | None:
        """Until when the app of a pod is asked to give its users away; None: it is not."""
        record = self.record(ordinal)
        return record.release if record and record.links is LinkAction.STAY else None


def _same_life(old: Json, new: Json) -> bool:
    if not old.get("incarnation") or not new.get("incarnation"):
        return True
    former, now = (Container.parse(record.get("container", [])) for record in (old, new))
    return bool(old["incarnation"] == new["incarnation"]) and not now.follows(former)


def _app_word(state: Json | None, new: Json) -> str | None:
    if state is None or state.get("op") is True or not new.get("incarnation"):
        return None
    mine = state["inc"] == Incarnation.parse(new["incarnation"]).pod_uid
    return state["app"] if mine and state["updateTime"] != new.get("heard") else None


def _former(new: Json, old: Json | None, *, same: bool) -> list[str] | None:
    uid = Incarnation.parse(new.get("incarnation") or "").pod_uid
    before = [] if same or old is None else [Incarnation.parse(old["incarnation"]).pod_uid]
    listed = dict.fromkeys([*before, *new.get("former", []), *((old or {}).get("former") or [])])
    return [name for name in listed if name != uid][:FORMER] or None
