"""The world: users, callers, pods, the operator and its lateness; what happens in it, and who judges that."""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache

from rules.clocks import STARTED, Time
from rules.cluster import Cluster, Pod, Process, Seen, seen_as
from rules.operator_actor import Operator
from rules.promises import PROMISES, Broken, Judge, Kept
from rules.store import Link, MemoryStore, ReplacedError
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.aliveness import Heartbeat, is_alive, is_routable
from stateful_route.domain.config import ServiceConfig
from stateful_route.domain.placement import Spread, Target
from stateful_route.domain.routing import LinkAction, RoutingState
from stateful_route.reconcile.migrations import Migration, Order
from stateful_route.reconcile.spec import policy_of
from stateful_route.router.failover import Progress
from stateful_route.store.states import Publication
from support.resources import route

PUBLISH_SECONDS = 15.0
WATCH_SECONDS = 0.05
EXPIRE_SECONDS = 60.0
RELEASE_SECONDS = 2.0
"""What an app takes to give all its users away."""
CALM_SECONDS = 150.0
"""After so long without news all that should become of links has become of them."""

FIRST_PODS = 3

MOST_EVENTS = 5000
"""More of them in one stretch of time are no rest."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is so from the beginning.

    Attributes:
        pods: How many the StatefulSet wants at first.
        libraries: Whether pods with an even, and with an odd ordinal run the library.
        on_restart: ``failover.onRestart``.
        on_replace: ``failover.onReplace``.
        by_app: ``drain.mode`` is App.
        max_links: ``placement.maxLinksPerPod``; 0: no limit.
        users: Who are linked at first.
    """

    pods: int = FIRST_PODS
    libraries: tuple[bool, bool] = (True, False)
    on_restart: str = "Move"
    on_replace: str = "Move"
    by_app: bool = True
    max_links: int = 0
    users: int = 4


@cache
def route_of(on_restart: str, on_replace: str, by_app: bool, max_links: int) -> StatefulRoute:
    """The StatefulRoute."""
    return route(
        "room",
        "games",
        failover={"onRestart": on_restart, "onReplace": on_replace},
        drain={"mode": "App" if by_app else "Operator"},
        placement={"maxLinksPerPod": max_links, "strategy": "LeastConnections"},
    )


@dataclass
class World:
    """One history as it goes on.

    Attributes:
        promises: Those that it is held against.
        story: What has happened, in words.
        users: Who have come, and not left.
        kept: User → who has her in memory.
        operator: None: it is away.
        stalled: Events that the watch holds back; None: it does not.
    """

    setup: Setup
    time: Time
    promises: Collection[str] = PROMISES
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        setup = self.setup
        self.route = route_of(setup.on_restart, setup.on_replace, setup.by_app, setup.max_links)
        self.policy = policy_of(self.route)
        placement = self.policy.placement
        self.store = MemoryStore(self.time, ServiceConfig(expire_seconds=EXPIRE_SECONDS, placement=placement))
        self.cluster = Cluster(self.time, setup.pods, lambda ordinal: setup.libraries[ordinal % 2])
        self.kept: dict[str, Kept] = {}
        self.operator: Operator | None = None
        self.stalled: list[Seen | None] | None = None
        self._deaf: dict[int, tuple[Process, float]] = {}
        """Processes that do not answer the operator's own probe, by their pods, and since when."""
        self.users: set[str] = set()
        self._words: dict[int, str] = {}
        self.judge = Judge(self)
        self.cluster.watch, self.cluster.began = self._event, self._began
        self.cluster.control()
        self.start_operator()
        self.pass_time(6)
        self._next_user = 0
        for _ in range(setup.users):
            self.arrive()

    # Telling

    def note(self, words: str) -> None:
        """Something has happened."""
        self.story.append(f"{self.time.now - STARTED:9.2f}  {words}")

    def _note_records(self) -> None:
        for ordinal in sorted(self._words.keys() | self.store.views().keys()):
            view = self.store.view(ordinal)
            record = view.record
            words = "nothing" if record is None else f"{record.written} ({record.reason}, links {record.links})"
            if words != self._words.get(ordinal):
                self._words[ordinal] = words
                self.note(f"    the operator says of pod {ordinal}: {words}")

    @property
    def unreachable(self) -> dict[int, float]:
        """The pods that do not answer the operator's own probe while others do, and since when."""
        pods = {pod.ordinal for pod in self.cluster.pods.values() if pod.ready}
        return {ordinal: since for ordinal, (_process, since) in self._deaf.items() if pods - self._deaf.keys()}

    def deafen(self, ordinal: int, process: Process) -> None:
        """A process answers the operator no more, or does again."""
        if self._deaf.pop(ordinal, None) is None:
            self._deaf[ordinal] = process, self.time.now
        if self.operator is not None:
            self.operator.wake()

    # Time

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and all happen that happens in it."""
        end = self.time.now + seconds
        for _ in range(MOST_EVENTS):
            event = self.time.next_event()
            due = self.operator.due if self.operator else None
            moment = min((at for at in (event, due) if at is not None), default=math.inf)
            if moment > end:
                break
            self.time.now = max(self.time.now, moment)
            self.time.happen()
            if self.operator is not None and self.operator.due <= self.time.now:
                self._pass(self.operator)
        else:
            raise Broken("it comes to rest", "the operator never rests", self)
        self.time.now = end

    def _pass(self, operator: Operator) -> None:
        pods = operator.workload.by_ordinal()
        for ordinal, (process, _since) in list(self._deaf.items()):
            if process is not self.cluster.process(ordinal):  # the next one answers
                del self._deaf[ordinal]
        operator.unreachable = {o: at for o, at in self.unreachable.items() if o in pods and not pods[o].finished}
        operator.run(None if self.stalled is not None else self._listed())
        self._note_records()

    def _listed(self) -> list[Seen]:
        return [seen_as(pod) for pod in self.cluster.pods.values()]

    # Events

    def _event(self, seen: Seen | None) -> None:
        if seen is not None:
            self.judge.noted(seen)
        self._tell(seen)

    def _tell(self, seen: Seen | None) -> None:
        if self.operator is None:
            return
        if self.stalled is not None:
            self.stalled.append(seen)
            return
        operator = self.operator
        self.time.after(WATCH_SECONDS, lambda: self._deliver(operator, seen))

    def _deliver(self, operator: Operator, seen: Seen | None) -> None:
        if self.operator is not operator:
            return
        if self.stalled is not None:
            self.stalled.append(seen)
        elif seen is None:
            operator.observe_set(self.cluster.facts)
        else:
            operator.observe(seen)

    def stall(self) -> None:
        """The watch stands still, or goes on."""
        if self.stalled is None:
            self.stalled = []
            return
        held, self.stalled = self.stalled, None
        for seen in held:
            self._tell(seen)
        self.judge.flows_since = self.time.now

    # The operator

    def start_operator(self) -> None:
        """It comes."""
        self.operator = Operator(self.time, self.cluster, self.store, self.route, self._move)
        self.operator.before_judging, self.operator.after_judging = self.judge.sees, self.judge.judged
        self.stalled = None
        self.judge.operator_starts()
        self.pass_time(0)

    def stop_operator(self) -> None:
        """It goes."""
        if self.operator is not None:
            self.operator.stop()
        self.operator = None
        self.judge.operator_stops()

    def _move(self, source: int, order: Order, migration: Migration) -> Progress:
        """What `move_links` does."""
        progress, targets = Progress(), Counter[int]()
        below = migration.task.before
        for uid, link in sorted(self.store.links.items()):
            if link.ordinal != source or (below is not None and link.epoch >= below):
                continue
            target = migration.task.spread().take()
            if target is None:
                progress.unplaced += 1
                continue
            if target == source:
                self.judge.stays(uid, source, order)
            else:
                self.judge.moves(uid, source, order)
            self._link(uid, target)
            progress.moved[target] += 1
            targets[target] += 1
        if targets:
            to = ", ".join(f"{count} to pod {target}" for target, count in sorted(targets.items()))
            self.note(f"    the operator moves links of pod {source} ({order.reason}): {to}")
        return progress

    # Pods

    def _began(self, pod: Pod, process: Process) -> None:
        self.judge.began(process)
        if process.library:
            self._publish(pod, process)

    def _publish(self, pod: Pod, process: Process) -> None:
        if not process.runs or process.replaced:
            return
        if process.hangs is None and self.cluster.nodes[pod.node].up:
            said = Publication(
                process.word, incarnation=pod.uid, begins=process.since_ms is None, since_ms=process.since_ms
            )
            before = self.store.view(pod.ordinal).effective
            try:
                process.since_ms = self.store.publish(pod.ordinal, said)
            except ReplacedError:
                process.replaced = True
                return
            process.published_at = self.time.now
            if process.word is RoutingState.SHUTDOWN:
                process.shut_down_until = math.inf
            elif process.shut_down_until == math.inf:
                process.shut_down_until = self.time.now
            if self.operator is not None and before is not self.store.view(pod.ordinal).effective:
                self.operator.wake(full=True)
            if self.store.asked_until(pod.ordinal) is not None:
                self.time.after(RELEASE_SECONDS, lambda: self._release(pod, process))
        seconds = 1.0 if self.store.asked_until(pod.ordinal) is not None else PUBLISH_SECONDS
        self.time.after(seconds, lambda: self._publish(pod, process))

    def _release(self, pod: Pod, process: Process) -> None:
        if not process.runs or process.replaced or process.hangs is not None:
            return
        if self.store.asked_until(pod.ordinal) is None or self.cluster.process(pod.ordinal) is not process:
            return
        for uid, link in sorted(self.store.links.items()):
            if link.ordinal == pod.ordinal and self.kept[uid].process is process:
                del self.store.links[uid]
                del self.kept[uid]

    def say(self, process: Process, pod: Pod, word: RoutingState) -> None:
        """The app says something else."""
        process.word = word
        self._publish(pod, process)

    # Users and callers

    def routable(self) -> list[int]:
        """The pods that callers give new users to."""
        return [
            ordinal for ordinal, view in self.store.views().items() if is_routable(view, Heartbeat.AUTO, EXPIRE_SECONDS)
        ]

    def arrive(self) -> str:
        """Somebody new comes; who."""
        uid = f"user {self._next_user}"
        self._next_user += 1
        self.users.add(uid)
        self.ask(uid)
        return uid

    def ask(self, uid: str) -> bool:
        """A user asks: she is linked to a pod that takes her if she is not yet, or if hers is left; whether she is."""
        link = self.store.links.get(uid)
        if link is not None:
            view = self.store.view(link.ordinal)
            left = view.record is not None and view.record.links is not LinkAction.STAY
            if is_alive(view, Heartbeat.AUTO, EXPIRE_SECONDS) and not left:
                return True
        counts = self.store.counts()
        takes = [o for o in self.routable() if link is None or o != link.ordinal]
        targets = [Target(ordinal, links=counts[ordinal]) for ordinal in takes]
        target = Spread(targets, self.store.config.placement).take()
        if target is None:
            return link is not None
        self._link(uid, target)
        return True

    def leave(self, uid: str) -> None:
        """She ends her session."""
        self.users.discard(uid)
        self.store.links.pop(uid, None)
        self.kept.pop(uid, None)

    def _link(self, uid: str, ordinal: int) -> None:
        self.store.links[uid] = Link(ordinal, self.store.next_epoch())
        self.kept[uid] = Kept(ordinal, self.cluster.process(ordinal), self.time.now)

    # The end

    def calm(self) -> None:
        """Nothing new happens until all has settled; then it is judged."""
        if self.operator is None:
            self.note("the operator comes")
            self.start_operator()
        if self.stalled is not None:
            self.note("the watch goes on")
            self.stall()
        self.note(f"{CALM_SECONDS:g} s pass in which nothing new happens")
        self.pass_time(CALM_SECONDS)
        self.judge.settled()
