"""The records of a service's pods: a copy of what stands in Redis, how it should change, and the writing of it."""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.aliveness import (
    Author,
    Heartbeat,
    PodView,
    ServiceState,
    foreign_word,
    is_routable,
    is_silent,
)
from stateful_route.domain.cut import Cut, cut, kubelet_behind
from stateful_route.domain.drain import is_published_by
from stateful_route.domain.incarnation import Container, Succession
from stateful_route.domain.lifecycle import Memory, Situation, is_same_life, moves_on, remember, was_serving
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import Policy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.domain.service import Judgement
from stateful_route.domain.snapshot import Snapshot, observed
from stateful_route.kube.server_clock import steady
from stateful_route.reconcile.sightings import STEP_MS, Latest, StoreMoments, Terminations
from stateful_route.reconcile.spec import address_of
from stateful_route.reconcile.workload import Workload
from stateful_route.store.connection import Store
from stateful_route.store.index import counted_links, issued_epochs
from stateful_route.store.keys import Service
from stateful_route.store.states import (
    get_service,
    get_service_pod,
    refresh_states,
    remove_states,
    set_operator_states,
)

log = logging.getLogger(__name__)

NOBODY: Mapping[int, float] = {}


class Ledger:
    """What is written of each pod of one service.

    Attributes:
        records: The operator's records as they stand in Redis.
        loads: What the pods say of their load.
        counts: Links of each pod; counted on each full pass, kept up with our own moves in between.
        time_ms: The server's clock at the last read or write.
        known: The records have been read since the last doubt.
        clock_was_set: The server's clock was set since this was last made False.
        stop_heard: A write has found, since this was last made False, that a pod's preStop hook has spoken.
    """

    def __init__(
        self,
        service: Service,
        owner: str,
        usual_seconds: float = math.inf,
        latest: Latest = lambda _moment: None,
    ) -> None:
        """As follows.

        Args:
            service: Whose.
            owner: Ourselves.
            usual_seconds: Between two reads; after a longer time the store, or this process, was away.
            latest: As of `Terminations`.
        """
        self._usual_seconds = usual_seconds
        self._seen: Snapshot | None = None
        """The service as a caller saw it at the last read: who must publish, and how old what they said is."""
        self.service = service
        self.owner = owner
        self._terminations = Terminations(latest)
        self._moments = StoreMoments()
        """Since when something is so, as it stands in records."""
        self._ends = StoreMoments(past=False)
        """Until when apps give their uids away, and until when what hooks have said counts."""
        self._steps = Counter[int]()
        """By how many ms at most the store's clock was set ahead since the record of an ordinal was written."""
        self._watched: set[str] = set()
        """uids of pods that were looked at before."""
        self._heard = StoreMoments()
        """When apps have published what stands of them."""
        self._cuts: dict[int, tuple[PodFacts, Cut]] = {}
        """Of pods whose new life has just been seen, until it is written."""
        self.records: dict[int, OperatorRecord] = {}
        self.loads: dict[int, float] = {}
        self.counts: dict[int, int] = {}
        self.time_ms = 0
        self.known = False
        self.clock_was_set = False
        self.stop_heard = False
        self.counting: Callable[[], None] = lambda: None
        """Is called right before the links are counted anew: what has moved until then is in the counts."""
        self.has_none: Callable[[Store], Awaitable[bool]] = _nobody_can_tell
        """Whether the service has no links at all, without a look at each of its buckets."""
        self._meanwhile = Counter[int]()
        """Links that have been accounted for, by target, since the last count began."""
        self._time_asked_at = self._time_read_at = 0.0
        self._states: dict[int, ServiceState] = {}
        """What stands in the main hash, as of the last look."""
        self._foreign: dict[int, RoutingState | None] = {}
        """What foreign clients say of their pods; None: what stands there is our own word."""
        self._unparsable: frozenset[int] = frozenset()
        self._amiss: set[int] = set()
        """Ordinals whose entry in the main hash, when it was read, was not what had been written."""
        self._silent: list[int] = []
        """Ordinals whose entry in the main hash is the operator's own."""
        self._strayed: set[int] = set()
        """Ordinals of which the main hash, when it was read, said what nobody had written: somebody else has."""
        self._successions: dict[int, Succession] = {}
        """Which pods have had each ordinal: a store that was emptied is told again who must not speak any more."""
        self._raised: dict[int, tuple[int, int]] = {}
        """Ordinals whose record says that links from before the first epoch remain, and is to say the second one."""
        self._settled: dict[int, int] = {}
        """Ordinals whose record in Redis still says that links from before that epoch remain."""

    async def read(self, store: Store) -> None:
        """Copy everything anew from Redis."""
        began = time.monotonic()
        view = await get_service(store, self.service)
        self._seen = observed(view.pods, view.config, view.time_ms, began, self._seen, self._usual_seconds)
        self.records = {ordinal: pod.record for ordinal, pod in view.pods.items() if pod.record is not None}
        for ordinal, record in self.records.items():
            self._note_life(ordinal, record)
        for ordinal, before in self._settled.items():
            self._forget_loss(ordinal, before)
        self._states = {ordinal: pod.state for ordinal, pod in view.pods.items() if pod.state is not None}
        self.loads = {ordinal: state.load for ordinal, state in self._states.items()}
        self._heard.keep({state.update_time for state in self._states.values()})
        self._foreign = {o: foreign_word(pod) for o, pod in view.pods.items() if pod.is_foreign}
        self._keep_moments()
        self._set_clock(view.time_ms, began)
        self._translate(self.records)
        self._amiss = {ordinal for ordinal, pod in view.pods.items() if not _agrees(pod)}
        self._strayed = {ordinal for ordinal, pod in view.pods.items() if _strayed(pod)}
        self._silent = [o for o, pod in view.pods.items() if pod.state and pod.state.author is Author.OPERATOR]
        await self.recount(store)
        self._complain(view.unparsable)
        self.known = True

    def interrupted(self) -> None:
        """The store was away, if only for a moment: apps may not have published, or what they did may be lost.

        What they say next counts as if it were the first that is heard of them.
        """
        self._seen = None

    @property
    def has_apps(self) -> bool:
        """Some pod of the service runs the library, as of the last full pass."""
        return any(state.author is Author.APP for state in self._states.values())

    async def look_at_apps(self, store: Store, ordinals: Sequence[int]) -> None:
        """See anew what the apps of some pods say of themselves."""
        views = await asyncio.gather(*(get_service_pod(store, self.service, ordinal) for ordinal in ordinals))
        self._states |= {o: view.state for o, view in zip(ordinals, views, strict=True) if view.state is not None}

    def _set_clock(self, time_ms: int, asked_at: float) -> None:
        """The server's clock has said this since it was asked; if it was set, each moment is to be written anew."""
        now = time.monotonic()
        earliest = self.time_ms + round((asked_at - self._time_read_at) * 1000)
        latest = self.time_ms + round((now - self._time_asked_at) * 1000)
        if self.time_ms and not earliest - STEP_MS < time_ms < latest + STEP_MS:
            self.clock_was_set = True
            self._moments.rename()
            self._ends.rename()
            self._steps.update(dict.fromkeys(self.records, time_ms - earliest))
        self.time_ms, self._time_asked_at, self._time_read_at = time_ms, asked_at, now

    def _keep_moments(self) -> None:
        records, states = self.records.values(), self._states.values()
        self._moments.keep({moment for record in records for moment in _past(record)})
        ends = {end for record in records for end in (record.release, record.stops)} | {state.stops for state in states}
        self._ends.keep({end for end in ends if end is not None})

    def _translate(self, ordinals: Iterable[int]) -> None:
        """Know all moments of some pods by the operator's clock, before the store's is set the next time."""
        store_ms, now_ms = self.store_ms, round(steady() * 1000)
        for ordinal in ordinals:
            record, state = self.records.get(ordinal), self._states.get(ordinal)
            for moment in _past(record) if record else ():
                self._moments.own(moment, store_ms, now_ms)
            for end in (record.release if record else None, state.stops if state else None):
                if end is not None:
                    self._ends.own(end, store_ms, now_ms)

    @property
    def store_ms(self) -> int:
        """What the server's clock says now."""
        return self.time_ms + round((time.monotonic() - self._time_read_at) * 1000)

    def moment(self, stored: int) -> float:
        """A moment of the past that stands in a record, in seconds by `steady`."""
        return self._moments.own(stored, self.store_ms, round(steady() * 1000)) / 1000

    async def recount(self, store: Store) -> None:
        """Count the links anew: what migrations have told of themselves overlaps with earlier counts."""
        self.counting()
        self._meanwhile.clear()
        counts = dict(await counted_links(store, self.service, lambda: self.has_none(store)))
        for target, links in self._meanwhile.items():  # perhaps they are among them: rather too many than too few
            counts[target] = counts.get(target, 0) + links
        self.counts = counts

    def settle(self, ordinal: int, before: int) -> None:
        """The links of the pod's earlier incarnation are dealt with; the next write says so in Redis."""
        self._settled[ordinal] = before
        self._forget_loss(ordinal, before)

    def raise_losses(self, losses: Mapping[int, int]) -> None:
        """Links of earlier incarnations have been found that got their epochs later: the next write says so in Redis.

        ``losses``: ordinal → the epoch before which links were made for an earlier incarnation.
        """
        for ordinal, later in losses.items():
            record = self.records.get(ordinal)
            if record is not None and record.before is not None:
                self._raised[ordinal] = record.before, later

    def _forget_loss(self, ordinal: int, before: int) -> None:
        record = self.records.get(ordinal)
        if record is not None and record.before == before:
            self.records[ordinal] = replace(record, loss=None, before=None, serves=False)

    def account(self, source: int, moved: Mapping[int, int]) -> None:
        """Links have moved: keep the counts up until they are taken anew."""
        self._meanwhile.update(moved)
        for target, links in moved.items():
            self.counts[target] = self.counts.get(target, 0) + links
            self.counts[source] = max(0, self.counts.get(source, 0) - links)

    def situations(
        self,
        workload: Workload,
        policy: Policy,
        lost: frozenset[str],
        now: float,
        unreachable: Mapping[int, float] = NOBODY,
    ) -> dict[int, Situation]:
        """The situation of each ordinal that has a pod, a record or links.

        Links alone say that a pod is gone only as long as the API server says which pods there are.

        Args:
            workload: The pods.
            policy: What the spec says.
            lost: Nodes that are not Ready.
            now: In seconds, by a clock that is never set.
            unreachable: Pods that do not answer the operator, and since when.
        """
        pods, store_ms = workload.by_ordinal(), self.store_ms
        linked = {ordinal for ordinal, count in self.counts.items() if count > 0 and workload.current}
        staying = {ordinal for ordinal, pod in pods.items() if not pod.terminating and not pod.finished}
        braked = any(record.reason is Reason.FAILOVER_PAUSED for record in self.records.values())
        situations = {}
        uids = {pod.uid for pod in pods.values()}
        self._terminations.keep(uids)
        self._watched &= uids
        for ordinal in sorted({*pods, *self.records, *linked}):
            pod = pods.get(ordinal)
            if pod is not None:
                pod = self._terminations.seen(pod, now)
            if pod is not None and pod.terminating and pod.node in lost:
                pod = replace(pod, node_lost=True)
            if pod is not None and ordinal in unreachable:
                pod = replace(pod, unreachable_since=unreachable[ordinal])
            app = None if pod is None else self._app(pod, now)
            wanted = workload.facts.wants(ordinal, staying) if workload.facts else None
            situations[ordinal] = Situation(
                pod=pod,
                memory=self._memory(ordinal, pod, policy, now, braked=braked, wanted=wanted),
                wanted=wanted,
                now=now,
                store_ms=store_ms,
                app=app,
                links=self.counts.get(ordinal, 0),
                word=None if pod is None else app.word if app else self._foreign_word(pod),
                silent=pod is not None and self._is_silent(pod),
                was_serving=was_serving(pod, self.records.get(ordinal), first_look=not self.records),
                stopping=None if pod is None else self._stopping(pod, now),
            )
        return situations

    def _memory(
        self, ordinal: int, pod: PodFacts | None, policy: Policy, now: float, *, braked: bool, wanted: bool | None
    ) -> Memory:
        record, store_ms, now_ms = self.records.get(ordinal), self.store_ms, round(now * 1000)
        if record is not None and record.release is not None:
            record = replace(record, release=self._ends.renamed(record.release, store_ms, now_ms))
        if record is not None and record.unready_since is not None:
            record = replace(record, unready_since=self._moments.own(record.unready_since, store_ms, now_ms))
        if record is not None and record.since:
            record = replace(record, since=self._moments.own(record.since, store_ms, now_ms))
        memory = remember(pod, record, policy, now, braked=braked, wanted=wanted)
        new = self._new_cut(ordinal, pod)
        return replace(memory, serves=new.serves) if new is not None else memory

    def _new_cut(self, ordinal: int, pod: PodFacts | None) -> Cut | None:
        of, known = self._cuts.get(ordinal, (None, None))
        same = of is not None and pod is not None and of.incarnation == pod.incarnation
        return known if same and not is_same_life(pod, self.records.get(ordinal)) else None

    def begun_anew(self, situations: Mapping[int, Situation]) -> list[int]:
        """The pods that are seen in a new life for the first time: nobody has said yet where it begins."""
        return [
            ordinal
            for ordinal, at in situations.items()
            if at.pod and not is_same_life(at.pod, self.records.get(ordinal)) and not self._new_cut(ordinal, at.pod)
        ]

    async def take_cuts(
        self, store: Store, situations: Mapping[int, Situation], ordinals: Sequence[int], policy: Policy
    ) -> None:
        """See where the new life of some pods begins, of which the situations tell."""
        await self.look_at_apps(store, ordinals)
        issued = await issued_epochs(store, self.service)
        for ordinal in ordinals:
            pod, record, loss = situations[ordinal].pod, self.records.get(ordinal), situations[ordinal].memory.loss
            if pod is not None and record is not None and loss is not None:
                moves, live = moves_on(loss, policy), pod.uid in self._watched
                self._cuts[ordinal] = pod, cut(pod, record, self._states.get(ordinal), issued, moves=moves, live=live)

    def _app(self, pod: PodFacts, now: float) -> ServiceState | None:
        """What its app says, with the time of that by the store's clock as it goes now."""
        state, store_ms, now_ms = self._states.get(pod.ordinal), self.store_ms, round(now * 1000)
        if state is None or not is_published_by(pod.incarnation, state, self.records.get(pod.ordinal)):
            return None
        return state._replace(update_time=store_ms - (now_ms - self._heard.own(state.update_time, store_ms, now_ms)))

    def _stopping(self, pod: PodFacts, now: float) -> float | None:
        """Until when, by the operator's clock, this life of the pod counts as stopping; None: its hook said nothing."""
        state = self._states.get(pod.ordinal)
        if state is None or state.stops is None or not is_same_life(pod, self.records.get(pod.ordinal)):
            return None
        end = self._ends.own(state.stops, self.store_ms, round(now * 1000)) / 1000
        return end if end > now else None

    def _note_stop(self, ordinal: int, stops: int | None, decided: int | None) -> None:
        """What stands when the script has written: a hook may have spoken since the last look."""
        state = self._states.get(ordinal)
        if (None if state is None else state.stops) == stops:
            return
        self.stop_heard |= stops not in {None, decided}
        if state is not None:
            self._states[ordinal] = state._replace(stops=stops)

    def _foreign_word(self, pod: PodFacts) -> RoutingState | None:
        """What a foreign client says of this life of the pod."""
        record = self.records.get(pod.ordinal)
        return self._foreign.get(pod.ordinal) if record and is_same_life(pod, record) else None

    def _is_silent(self, pod: PodFacts) -> bool:
        record = self.records.get(pod.ordinal)
        if record is None or self._seen is None:
            return False
        view = self._view(pod.ordinal, replace(record, incarnation=pod.incarnation))
        return is_silent(view, *self._heartbeat(self._seen))

    def _view(self, ordinal: int, record: OperatorRecord) -> PodView:
        """The pod as callers see it: its entry as of the last read, with what has been written since."""
        seen = self._seen.pods.get(ordinal) if self._seen else None
        if seen is None or seen.state is None:
            return PodView(None, record, None)
        return PodView(seen.state._replace(routing_state=record.written or record.state), record, seen.age_seconds)

    @staticmethod
    def _heartbeat(seen: Snapshot) -> tuple[Heartbeat, float]:
        """Who must publish, and how often; nobody while all have fallen silent at once, as for callers."""
        return Heartbeat.IGNORED if seen.held else seen.config.heartbeat, seen.config.expire_seconds

    def decisions(
        self,
        route: StatefulRoute,
        workload: Workload,
        situations: Mapping[int, Situation],
        judgement: Judgement,
        *,
        full: bool,
    ) -> dict[int, OperatorRecord]:
        """The record that each pod should have, where it differs from the one that stands.

        ``full``: everything has just been read, so that the counts and the main hash are compared, too. A pod that has
        begun anew in the last moment is left for the next time: nobody has said yet where its life begins.
        """
        changed = {}
        unknown = self.begun_anew(situations)
        for ordinal, verdict in judgement.verdicts.items():
            at, old = situations[ordinal], self.records.get(ordinal)
            if ordinal in unknown:
                if old is not None and verdict.stranded and not old.stranded:  # to be known when others serve again
                    changed[ordinal] = replace(old, stranded=True)
                continue
            unreachable = at.pod.unreachable_since if at.pod else None
            same_life, new_cut = is_same_life(at.pod, old), self._new_cut(ordinal, at.pod)
            before = old.before if old and same_life and old.loss is at.memory.loss else None
            noted, later = self._raised.get(ordinal, (None, None))
            before = later if before is not None and before == noted else before
            since = old.since if old and (old.state, old.reason) == (verdict.state, verdict.reason) else 0
            state = self._states.get(ordinal) if at.pod else None  # without a pod the script decides about its hook
            new = OperatorRecord(
                state=verdict.state,
                reason=verdict.reason,
                links=verdict.links,
                incarnation=at.pod.incarnation if at.pod else old.incarnation if old else None,
                ever_ready=at.memory.ever_ready,
                served=at.memory.served,
                added=at.memory.added,
                stranded=verdict.stranded,
                unready_since=self._named(self._moments, at.memory.unready_since, at),
                unreachable_since=self._named(self._moments, unreachable, at),
                ready_changed=at.pod.ready_changed if at.pod else None,
                kubelet_behind=self._kubelet_behind(at, old),
                container=_container(at.pod, old if same_life else None),
                before=new_cut.before if new_cut else before,
                begun=new_cut.begun if new_cut else None,
                serves=at.memory.serves,
                loss=at.memory.loss,
                address=address_of(route, at.pod, workload.facts) if at.pod else None,
                count=self.counts.get(ordinal, 0),
                release=verdict.release,
                former=self._succession(ordinal, at.pod).former,
                since=self._moments.renamed(since, at.store_ms, round(at.now * 1000)) if since else 0,
                stops=self._named(self._ends, at.stopping, at),
                stops_read=state.stops if state else None,
            )
            if (
                old is None
                or ordinal in self._settled
                or new.decision != old.decision
                or new.since != since
                or (new.stops_read is not None and new.stops != new.stops_read)
                or (full and (ordinal in self._amiss or new.count != old.count))
            ):
                changed[ordinal] = new
                if new.release is not None:
                    self._ends.own(new.release, at.store_ms, round(at.now * 1000))
        return changed

    @staticmethod
    def _named(moments: StoreMoments, moment: float | None, at: Situation) -> int | None:
        """A moment of a situation as it stands in a record."""
        return None if moment is None else moments.stored(round(moment * 1000), at.store_ms, round(at.now * 1000))

    def _kubelet_behind(self, at: Situation, old: OperatorRecord | None) -> int | None:
        if at.pod is None:
            return None
        live = at.pod.uid in self._watched
        self._watched.add(at.pod.uid)
        if old is not None and old.kubelet_behind is not None:
            old = replace(old, kubelet_behind=old.kubelet_behind + self._steps[at.pod.ordinal])
        return kubelet_behind(at.pod, old, at.store_ms, live=live)

    def _note_life(self, ordinal: int, record: OperatorRecord) -> None:
        life = record.incarnation.pod_uid if record.incarnation else None
        known = self._successions.get(ordinal, Succession())
        self._successions[ordinal] = known.followed_by(life, record.former)

    def _succession(self, ordinal: int, pod: PodFacts | None) -> Succession:
        known = self._successions.get(ordinal, Succession())
        return known.followed_by(pod.incarnation.pod_uid if pod else None)

    async def write(self, store: Store, decisions: Mapping[int, OperatorRecord]) -> None:
        """Write the decisions, and take over what the script made of them; one log line for each change."""
        if not decisions:
            return
        asked_at = time.monotonic()
        written = await set_operator_states(store, self.service, self.owner, decisions)
        if mended := self._strayed & written.records.keys():
            self._strayed -= mended
            store.meter.drift_repaired(self.service, "state", len(mended))
        for ordinal, new in written.records.items():
            old = self.records.get(ordinal)
            self.records[ordinal] = new
            self._steps.pop(ordinal, None)
            self._note_stop(ordinal, new.stops, decisions[ordinal].stops)
            self._cuts.pop(ordinal, None)
            self._raised.pop(ordinal, None)
            self._note_life(ordinal, new)
            if ordinal in self._foreign:
                self._foreign[ordinal] = new.app_word
            if new.before is None or self._settled.get(ordinal) != new.before:
                self._settled.pop(ordinal, None)
            else:  # it was settled while this was being written: the next write says so
                self._forget_loss(ordinal, new.before)
            if old is None or (old.state, old.reason, old.written) != (new.state, new.reason, new.written):
                log.info(
                    "pod state",
                    extra={
                        "service": str(self.service),
                        "ordinal": ordinal,
                        "before": old.written if old else None,
                        "state": new.written,
                        "reason": new.reason,
                        "links": new.links,
                    },
                )
        self._set_clock(written.time_ms, asked_at)
        self._translate(written.records)
        self._complain(self._unparsable - decisions.keys() | written.unparsable)

    async def refresh(self, store: Store) -> None:
        """Renew the entries of pods that publish nothing, so that foreign readers take them for alive."""
        await refresh_states(store, self.service, self.owner, self._silent)

    async def forget_gone(self, store: Store, expire_seconds: float, busy: frozenset[int]) -> None:
        """Remove the records of ordinals that are gone for longer than the expiry and have no links."""
        latest = steady() - expire_seconds
        gone = [
            ordinal
            for ordinal, record in self.records.items()
            if record.reason is Reason.GONE
            and self.moment(record.since) <= latest
            and not self.counts.get(ordinal)
            and ordinal not in busy
        ]
        if gone:
            await remove_states(store, self.service, self.owner, gone)
            for ordinal in gone:
                del self.records[ordinal]
                self._successions.pop(ordinal, None)

    def ready(self) -> frozenset[int]:
        """The ordinals that take links now: those that callers give new uids to."""
        policy = self._heartbeat(self._seen) if self._seen else (Heartbeat.IGNORED, math.inf)
        return frozenset(
            ordinal
            for ordinal, record in self.records.items()
            if record.written is RoutingState.READY and is_routable(self._view(ordinal, record), *policy)
        )

    def _complain(self, unparsable: frozenset[int]) -> None:
        """Say once of each foreign record that it does not parse."""
        for ordinal in sorted(unparsable - self._unparsable):
            log.warning(
                "state record does not parse; left untouched",
                extra={"service": str(self.service), "ordinal": ordinal, "key": self.service.states},
            )
        self._unparsable = unparsable


def _past(record: OperatorRecord) -> list[int]:
    """The moments of a record that are over."""
    moments = (record.unready_since, record.unreachable_since, record.since or None)
    return [moment for moment in moments if moment is not None]


def _agrees(pod: PodView) -> bool:
    """The main hash holds what the script wrote last, and the app says what it said then."""
    if pod.state is None or pod.record is None or pod.state.routing_state is not pod.record.written:
        return False
    if pod.state.author is not Author.APP:
        return True
    known = pod.state.update_time == pod.record.heard or pod.state.since in {None, pod.record.begun}
    return known and pod.state.word is pod.record.app_word


def _strayed(pod: PodView) -> bool:
    """The main hash does not hold what was written last, and it is not the pod's application that has changed it."""
    if pod.record is None or pod.record.written is None:
        return False
    if pod.state is not None and pod.state.stops != pod.record.stops:  # its preStop hook has
        return False
    return pod.state is None or (
        pod.state.routing_state is not pod.record.written and pod.state.word is pod.record.app_word
    )


def _container(pod: PodFacts | None, same_life: OperatorRecord | None) -> Container:
    """What is known of the routed container."""
    former = same_life.container if same_life else Container()
    return pod.container.known_as(former) if pod else former


async def _nobody_can_tell(store: Store) -> bool:  # noqa: ARG001  as `Ledger.has_none` is called
    return False
