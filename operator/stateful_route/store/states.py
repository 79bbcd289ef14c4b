"""Service states and the operator's records beside them: read, publish, merge, claim, release."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from stateful_route.domain.aliveness import PodView, ServiceState
from stateful_route.domain.config import ServiceConfig
from stateful_route.domain.errors import OwnedElsewhere, Replaced, StoreRejected
from stateful_route.domain.names import MAX_ORDINAL, check_load, check_ordinal, check_word
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import RoutingState
from stateful_route.store.connection import Store
from stateful_route.store.failures import as_ours
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Argument, Call, script

STREAM_LENGTH = 1000
"""About how many changes a service's stream keeps; who has missed more reads the states anew."""

NO_ENTRY = "0-0"
"""As the id of a stream's last entry: there is none."""

_POD = re.compile(rb"0|[1-9]\d{0,3}")

PODS_PER_CALL = 100
NEWS_PODS = 100
"""Of so many changes a reader is told what they are; who has missed more reads all pods."""

HINT_SECONDS = 60
"""How long a caller's hint lives: the operator has looked by then, or was away and looks at everything anew."""

REFRESHED_PER_CALL = 500
"""Bounds what one script touches, so that other callers are not held up."""


class ServiceView(NamedTuple):
    """All of a service as it stands in Redis at one moment.

    Attributes:
        time_ms: That moment by the server's clock.
        owner: ``<cluster id>/<StatefulRoute uid>``, or None: no operator has it.
        pods: What is known of each pod index.
        unparsable: Pod indexes whose state record a foreign client has written in no form that we know.
        config: What the StatefulRoute says; the defaults without one.
        changes: The id of the last entry in the stream of changes; ``0-0``: it has none.
        moves: Likewise, of moved links.
    """

    time_ms: int
    owner: str | None
    pods: Mapping[int, PodView]
    unparsable: frozenset[int]
    config: ServiceConfig = ServiceConfig()
    changes: str = NO_ENTRY
    moves: str = NO_ENTRY


class ServiceNews(NamedTuple):
    """What has become of a service since somebody has read it; times, config, changes and moves as in `ServiceView`.

    Attributes:
        pods: Those that were wanted, and those whose state has changed; None: the store knows nothing of the pod.
    """

    time_ms: int
    pods: Mapping[int, PodView | None]
    config: ServiceConfig
    changes: str
    moves: str


class Written(NamedTuple):
    """What the operator's write did: the server's time, the records as they stand, and who could not be merged."""

    time_ms: int
    records: Mapping[int, OperatorRecord]
    unparsable: frozenset[int]


class Publication(NamedTuple):
    """What a pod says of itself.

    Attributes:
        word: What callers may do with it.
        load: Smaller is less.
        incarnation: ``<pod uid>/<restarts>``, or the pod's uid alone; empty: unknown.
        begins: It is this incarnation's first word: whoever has spoken for the pod index before is replaced. False: it
            has spoken before: whoever has spoken since is its successor. None: unknown.
        former: Pod uids that are known to be replaced: a store that was emptied has to be told again.
        since_ms: When it spoke first, as `Published.time_ms` has said; None: unknown.
    """

    word: RoutingState
    load: float = 0
    incarnation: str = ""
    begins: bool | None = None
    former: Sequence[str] = ()
    since_ms: int | None = None


class Published(NamedTuple):
    """What came of a publication.

    Attributes:
        effective: The effective state now.
        found: The store had a record of the pod before.
        former: Pod uids that must not publish for this pod index any more, the latest first.
        time_ms: When, by the server's clock.
    """

    effective: RoutingState
    found: bool
    former: tuple[str, ...] = ()
    time_ms: int = 0


async def get_service(store: Store, service: Service) -> ServiceView:
    """All pods of a service with the operator's records, in one round trip; ``pods`` is empty for an unknown one."""
    keys = (service.states, service.records, service.owner, service.config, service.changes, service.moves)
    reply = await store.run(Call(script("statefulGetService"), keys, ()))
    time_ms, owner, states, records, fields, changes, moves = reply
    raw_states, raw_records = _pairs(states), _pairs(records)
    pods: dict[int, PodView] = {}
    unparsable = set()
    for ordinal in sorted({*raw_states, *raw_records}):
        pods[ordinal] = _view(time_ms, raw_states.get(ordinal, b""), raw_records.get(ordinal, b""))
        if pods[ordinal].state is None and ordinal in raw_states:
            unparsable.add(ordinal)
    return ServiceView(
        time_ms,
        owner.decode() or None,
        pods,
        frozenset(unparsable),
        _config(fields),
        changes.decode(),
        moves.decode(),
    )


async def get_service_since(store: Store, service: Service, since: str, wanted: Collection[int]) -> ServiceNews | None:
    """The wanted pods, and those whose states have changed since an entry of the stream of changes; one round trip.

    Args:
        store: Where.
        service: What.
        since: As `ServiceView.changes` or `ServiceNews.changes`.
        wanted: Pod indexes, at most `NEWS_PODS`.

    Returns:
        None: it cannot be told. More has changed, or the store does not know that entry: it was emptied, or restored.
    """
    keys = (service.states, service.records, service.config, service.changes, service.moves)
    args: list[Argument] = [since, NEWS_PODS, *sorted(wanted)]
    reply = await store.run(Call(script("statefulGetServiceSince"), keys, args))
    if not reply:
        return None
    time_ms, changes, moves, fields, entries = reply
    pods: dict[int, PodView | None] = {}
    for field, raw_state, raw_record in zip(entries[::3], entries[1::3], entries[2::3], strict=True):
        for ordinal in _pairs((field, b"")):
            known = raw_state or raw_record
            pods[ordinal] = _view(time_ms, raw_state, raw_record) if known else None
    return ServiceNews(time_ms, pods, _config(fields), changes.decode(), moves.decode())


def exists(view: ServiceView) -> bool:
    """Whether anybody has told of the service: a pod, an operator, or a client whose record does not parse."""
    return bool(view.pods or view.unparsable or view.owner is not None or view.config != ServiceConfig())


async def get_service_pod(store: Store, service: Service, ordinal: int) -> PodView:
    """What is known of one pod, in one round trip; no state and no record for one that nobody has told of."""
    call = Call(script("statefulGetServicePod"), (service.states, service.records), (check_ordinal(ordinal),))
    return _view(*await store.run(call))


async def set_state(
    store: Store, service: Service, ordinal: int, word: RoutingState, *, load: float = 0, incarnation: str = ""
) -> RoutingState:
    """Publish what a pod says of itself; the effective state, which the operator's layer may make more severe.

    Raises:
        InvalidArgument: see `check_state`.
        Replaced: ``incarnation`` has a successor; nothing was written.
    """
    return (await publish_state(store, service, ordinal, Publication(word, load, incarnation))).effective


async def publish_state(store: Store, service: Service, ordinal: int, publication: Publication) -> Published:
    """As `set_state`, and what stood there before."""
    word, load, incarnation, begins, former, since_ms = publication
    check_state(ordinal, load, incarnation)
    keys = (service.states, service.records, service.changes)
    turn = ("" if begins is None else int(begins), "" if since_ms is None else since_ms)
    args: list[Argument] = [ordinal, load, word, incarnation]
    args += (store.publish, service.channel, STREAM_LENGTH, *turn, *former)
    try:
        effective, time_ms, found, *replaced = await store.run(Call(script("statefulSetState"), keys, args))
    except StoreRejected as error:
        if "REPLACED" in str(error):
            raise Replaced(f"pod {ordinal} of {service} has a successor: {incarnation} must not publish") from error
        raise
    return Published(RoutingState(effective.decode()), bool(found), tuple(uid.decode() for uid in replaced), time_ms)


async def stop_pod(store: Store, service: Service, ordinal: int, pod_uid: str, seconds: float) -> RoutingState | None:
    """Say for a pod that it is about to stop, whatever its app says; its effective state now.

    None: the store knows no such pod, neither by a state nor by an operator's record; nothing was written.

    Callers give it no new uids from now on, and the operator drains it. It holds until another life of the pod is seen
    or speaks.

    Args:
        store: Where.
        service: Whose.
        ordinal: The pod index.
        pod_uid: Of the pod; empty: nobody knows it, and whoever has the index now is meant.
        seconds: For so long at most.

    Raises:
        InvalidArgument: no pod index, or a uid that is no text.
        Replaced: the pod has a successor; nothing was written.
    """
    check_state(ordinal, 0, pod_uid)
    keys = (service.states, service.records, service.changes)
    args = (ordinal, pod_uid, round(seconds * 1000), store.publish, service.channel, STREAM_LENGTH)
    try:
        effective = await store.run(Call(script("statefulStopPod"), keys, args))
    except StoreRejected as error:
        if "REPLACED" in str(error):
            raise Replaced(f"pod {ordinal} of {service} has a successor: {pod_uid} has nobody left") from error
        raise
    return None if effective is None else RoutingState(effective.decode())


def check_state(ordinal: int, load: float, incarnation: str) -> None:
    """See that a pod's state can be stored.

    Raises:
        InvalidArgument: no pod index, a load that is no finite number or that a float cannot hold, an incarnation that
            is no text.
    """
    check_ordinal(ordinal)
    check_load(load)
    if incarnation != "":
        check_word(incarnation, "incarnation")


async def get_workloads(store: Store, services: Sequence[Service]) -> dict[str, str | None]:
    """Service name → the one word for the whole service, or None; one round trip (one per node of a Cluster)."""
    if not services:
        return {}
    keys = [service.workload for service in services]
    if store.cluster:  # their slots differ
        replies = await store.pipeline([("GET", key) for key in keys])
        for reply in replies:
            if isinstance(reply, Exception):
                raise as_ours(reply, store.label, writes=False)
    else:
        replies = await store.command("MGET", *keys)
    words = [None if reply is None else reply.decode(errors="surrogateescape") for reply in replies]
    return {service.name: word for service, word in zip(services, words, strict=True)}


async def set_operator_states(
    store: Store, service: Service, owner: str, decisions: Mapping[int, OperatorRecord]
) -> Written:
    """Write the operator's layer of some pods; merging, time and the change stream are the script's.

    Raises:
        OwnedElsewhere: the service is not ours (any more), or the store was emptied (then its ``owner`` is empty).
    """
    time_ms, records, unparsable = 0, {}, set()
    ordinals = sorted(decisions)
    for start in range(0, len(ordinals), PODS_PER_CALL):
        batch = ordinals[start : start + PODS_PER_CALL]
        args: list[Any] = [owner, store.publish, service.channel, STREAM_LENGTH]
        for ordinal in batch:
            args += (check_ordinal(ordinal), decisions[ordinal].decision_json())
        reply = await _owned(store, service, Call(script("operatorSetStates"), _state_keys(service), args))
        time_ms = reply[0]
        for ordinal, text, flag in zip(batch, reply[1::2], reply[2::2], strict=True):
            if (record := OperatorRecord.from_json(text)) is not None:
                records[ordinal] = record
            if flag:
                unparsable.add(ordinal)
    return Written(time_ms, records, frozenset(unparsable))


async def refresh_states(store: Store, service: Service, owner: str, ordinals: Sequence[int]) -> int:
    """Renew the time of the operator's own entries; how many there were. Errors as `set_operator_states`."""
    refreshed = 0
    for start in range(0, len(ordinals), REFRESHED_PER_CALL):
        args: list[Argument] = [owner, *ordinals[start : start + REFRESHED_PER_CALL]]
        refreshed += await _owned(
            store, service, Call(script("operatorRefreshStates"), (service.states, service.owner), args)
        )
    return refreshed


async def remove_states(store: Store, service: Service, owner: str, ordinals: Sequence[int]) -> int:
    """Forget pods that are gone and have no links; how many there were. Errors as `set_operator_states`."""
    removed = 0
    for start in range(0, len(ordinals), PODS_PER_CALL):
        batch = ordinals[start : start + PODS_PER_CALL]
        args: list[Argument] = [owner, store.publish, service.channel, STREAM_LENGTH, *batch]
        removed += await _owned(store, service, Call(script("operatorRemoveStates"), _state_keys(service), args))
    return removed


async def claim(store: Store, service: Service, owner: str, config: Mapping[str, object], take_over: str = "") -> None:
    """Own the service and write what callers need of its configuration.

    Args:
        store: Where.
        service: What.
        owner: Who, ``<cluster id>/<StatefulRoute uid>``.
        config: At least one field; values are written as text, mappings as JSON.
        take_over: An owner whose id begins with this is displaced (it is known to have no claim); empty: none is.

    Raises:
        OwnedElsewhere: somebody else has it; nothing was written.
    """
    args: list[Any] = [owner, take_over]
    for name, value in config.items():
        args += (name, json.dumps(value) if isinstance(value, Mapping) else str(value))
    mine, before = await store.run(Call(script("claimService"), (service.owner, service.config, service.moves), args))
    if not mine:
        raise OwnedElsewhere(str(service), before.decode())


async def release(store: Store, service: Service, owner: str, *, keep_moves_seconds: int = 0) -> bool:
    """Give the service up and delete what is ours; False when it was not ours: then nothing was changed.

    ``keep_moves_seconds``: how long the stream of moves stays, for readers that have not read yet what it tells.
    """
    state_keys = (service.states, service.records, service.owner, service.config)
    keys = (*state_keys, service.changes, service.moves)
    args = (owner, store.publish, service.channel, keep_moves_seconds)
    return bool(await store.run(Call(script("releaseService"), keys, args)))


async def report_unreachable(store: Store, service: Service, ordinal: int) -> None:
    """Leave the operator a hint that a caller could not reach a pod; it looks for itself before it does anything."""
    args = (check_ordinal(ordinal), store.publish, service.channel, HINT_SECONDS)
    await store.run(Call(script("reportUnreachable"), (service.hints,), args))


async def get_hints(store: Store, service: Service) -> dict[int, int]:
    """Pod index → ms since the epoch, when a caller last could not reach it; empty for none in the last minute."""
    flat = [word for pair in (await store.command("HGETALL", service.hints)).items() for word in pair]
    return {ordinal: int(value) for ordinal, value in _pairs(flat).items() if value.isdigit()}


async def _owned(store: Store, service: Service, call: Call) -> Any:
    try:
        return await store.run(call)
    except StoreRejected as error:
        _, owned, owner = str(error).partition("OWNED ")
        if owned:
            raise OwnedElsewhere(str(service), owner.strip()) from error
        raise


def _state_keys(service: Service) -> tuple[str, ...]:
    return service.states, service.records, service.owner, service.changes


def _view(time_ms: int, raw_state: bytes, raw_record: bytes) -> PodView:
    """One pod, as it was at that moment; empty for what is not there."""
    state = ServiceState.from_json(raw_state) if raw_state else None
    record = OperatorRecord.from_json(raw_record) if raw_record else None
    return PodView(state, record, None if state is None else max(0.0, (time_ms - state.update_time) / 1000))


def _config(fields: Sequence[bytes]) -> ServiceConfig:
    words = [word.decode(errors="replace") for word in fields]
    return ServiceConfig.from_fields(dict(zip(words[::2], words[1::2], strict=True)))


def _pairs(flat: Sequence[bytes]) -> dict[int, bytes]:
    """Field → value of the fields that are pod indexes; others are a foreign writer's and none of ours."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {int(field): value for field, value in pairs if _POD.fullmatch(field) and int(field) <= MAX_ORDINAL}
