"""The promises, each a function whose docstring is the sentence; and what a judge must know who knows the truth."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rules.cluster import Pod, Process, Seen
from stateful_route.domain.aliveness import Heartbeat, is_routable
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.routing import DOWN, Reason, RoutingState
from stateful_route.domain.service import Judgement
from stateful_route.reconcile.migrations import Order

if TYPE_CHECKING:
    from rules.steps import Step
    from rules.world import World

TOLERANCE = 1.1
"""Kubernetes writes times to the second, and an event takes a moment."""

ORDERED_SECONDS = 0.2
"""From an order to its end no more time passes."""

SETTLED_SECONDS = 35.0
"""A pod that is well for so long is known to be: a resync has passed."""


class Broken(AssertionError):  # noqa: N818  a promise is
    """A promise is broken; the message is the history.

    Attributes:
        promise: Which.
        setup: How the shortest history begins that breaks it.
        steps: And what happens in it; empty: it was not shortened.
    """

    def __init__(self, promise: str, how: str, world: "World") -> None:
        self.promise = promise
        self.setup = world.setup
        self.steps: list[Step] = []
        super().__init__("\n".join([f"{promise}: {how}", f"{world.setup}", *world.story]))


@dataclass(frozen=True, slots=True)
class Kept:
    """Who has a user in memory, for all that is known: the process that ran when she was linked there.

    Attributes:
        ordinal: Of her pod.
        process: None: none ran, so that none can have forgotten her.
        made_at: When.
    """

    ordinal: int
    process: Process | None
    made_at: float


class Judge:
    """What has been so, and what the operator has been shown of it."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.notes: dict[int, Seen] = {}
        self.first_seen: dict[str, float] = {}
        """Container → when an operator has seen first that it runs."""
        self.flows_since = 0.0
        """Since when the operator has been told all that happens."""
        self.members: dict[int, bool] = {}
        """The pods that have served and are not asked to stop, as they were shown: whether they fail."""
        self.places: set[int] = set()
        """The ordinals of pods that have served, also while their successors are on their way."""
        self.held: frozenset[int] | None = None
        """Those that there were when failovers began to be held back; None: they are not."""
        self.had_served: frozenset[int] = frozenset()
        """Those of them that had served, as `places`."""
        self.there: set[int] = set()
        """Those of which the operator was told last."""
        self.down: frozenset[int] = frozenset()
        self.takers: dict[int, float] = {}
        """Pods that take users and have room, as the store says, and since when."""
        self.wrongly_kept: list[str] = []
        self.store_was_set = self.store_set_while_away = self.kubelet_was_set = self.cut_is_doubtful = False
        self._away: set[str] | None = None

    # What is noted

    def noted(self, seen: Seen) -> None:
        """The API server has made an event."""
        self.notes[int(seen.body["metadata"]["resourceVersion"])] = seen

    def began(self, process: Process) -> None:
        """A process has started."""
        self._while_away("restart of a pod with a library" if process.library else "restart")

    def clock_set(self, what: str) -> None:
        """A clock was set: the store's, or a kubelet's."""
        if what == "store":
            self.store_was_set = True
            self.store_set_while_away |= self._away is not None
        self.kubelet_was_set |= what == "kubelet"
        self._while_away(what)

    def operator_starts(self) -> None:
        """It comes."""
        self._away, self.flows_since = None, self.world.time.now

    def operator_stops(self) -> None:
        """It goes."""
        self._away = set()

    def _while_away(self, what: str) -> None:
        """The limits in docs/explanation.md, *Clocks*: both of these while no operator runs."""
        if self._away is None:
            return
        self._away.add(what)
        restarted = {word for word in self._away if word.startswith("restart")}
        kubelet = self.kubelet_was_set and "restart" in self._away
        self.cut_is_doubtful |= kubelet or bool("store" in self._away and restarted)

    def sees(self, pods: Mapping[int, PodFacts], unreachable: Mapping[int, float]) -> None:
        """The operator is about to judge what it has been shown."""
        members = {}
        self.there = set(pods)
        for ordinal, pod in pods.items():
            note = self.notes[pod.resource_version]
            self.first_seen.setdefault(pod.container.id, self.world.time.now)
            stops = pod.terminating and not pod.ready
            if note.served:
                self.places.add(ordinal)
            elif self.held is None:
                self.places.discard(ordinal)
            counts = note.served or (self.held is not None and ordinal in self.had_served)
            if counts and not pod.finished and not stops:
                members[ordinal] = not pod.ready or ordinal in unreachable
        counts, limit, now = self.world.store.counts(), self.world.setup.max_links, self.world.time.now
        takers = [ordinal for ordinal in self.world.routable() if not limit or counts[ordinal] < limit]
        self.takers = {ordinal: self.takers.get(ordinal, now) for ordinal in takers}
        facts = self.world.operator.workload.facts if self.world.operator else None
        self.places -= {o for o in self.places - pods.keys() if facts is not None and facts.wants(o) is False}
        self.members = members
        records = {o: view.record for o, view in self.world.store.views().items() if view.record is not None}
        self.down = frozenset(o for o, record in records.items() if record.reason in DOWN)
        if not any(record.reason is Reason.FAILOVER_PAUSED for record in records.values()):
            self.held = None

    # What the promises ask

    @property
    def too_many_fail(self) -> bool:
        """More of the pods fail than may; those that were added since failovers are held back do not count."""
        held = self.held
        return self._exceeded(self.members, self.members) or (held is not None and self._exceeded(self.members, held))

    @property
    def too_many_may_fail(self) -> bool:
        """The same, by all that the operator can have been told: also those that say so, or have fallen silent."""
        members = {ordinal: fails or _serves_nobody(self, ordinal) for ordinal, fails in self.members.items()}
        return self._exceeded(members, members) or (self.held is not None and self._exceeded(members, self.held))

    def _exceeded(self, members: Mapping[int, bool], counted: Collection[int]) -> bool:
        fails = [fails for ordinal, fails in members.items() if ordinal in counted]
        return self.world.policy.max_unavailable.exceeded(sum(fails), len(fails))

    def healthy(self) -> list[Pod]:
        """The pods that can serve, and that nobody wants to be left."""
        return [pod for pod in self.world.cluster.pods.values() if self._is_healthy(pod)]

    def _is_healthy(self, pod: Pod) -> bool:
        world, process, meta = self.world, pod.process, pod.said["metadata"]
        facts = world.cluster.facts
        return (
            process is not None
            and process.runs
            and process.hangs is None
            and not process.replaced
            and process.word is RoutingState.READY
            and pod.ready
            and not pod.terminating
            and not pod.finished
            and pod.stops_at is None
            and world.time.now - process.born >= SETTLED_SECONDS
            and world.time.now - (pod.ready_since or world.time.now) >= SETTLED_SECONDS
            and pod.ordinal not in world.unreachable
            and world.cluster.nodes[pod.node].up
            and "app" in meta["labels"]
            and meta["annotations"].get("statefulroute.io/drain") != "true"
            and (facts is None or bool(facts.wants(pod.ordinal)))
        )

    def with_room(self) -> list[int]:
        """The healthy pods that have room."""
        limit, counts = self.world.setup.max_links, self.world.store.counts()
        return [pod.ordinal for pod in self.healthy() if not limit or counts[pod.ordinal] < limit]

    # When they are asked

    def moves(self, uid: str, source: int, order: Order) -> None:
        """The operator moves a user off a pod."""
        self._hold(no_user_of_a_healthy_pod_is_moved_without_a_reason_of_that_pod, uid, source, order)

    def stays(self, uid: str, source: int, order: Order) -> None:
        """A link gets a later epoch: its pod, which has forgotten the user, is told that she is new."""
        setup, since = self.world.setup, self.world.time.now - ORDERED_SECONDS
        keeps = (setup.on_restart if order.reason is Reason.RESTARTED else setup.on_replace) == "Keep"
        others = [ordinal for ordinal, at in self.takers.items() if ordinal != source and at < since]
        if others and not keeps:
            self.wrongly_kept.append(f"{uid} is told to be new on pod {source}, and pods {others} could take her")

    def judged(self, judgement: Judgement) -> None:
        """The operator has decided."""
        if judgement.paused and self.held is None:
            self.held, self.had_served = frozenset(self.places | self.there), frozenset(self.places)
        self._hold(the_brake_holds_whatever_is_added, judgement)

    def settled(self) -> None:
        """All has settled."""
        self._hold(no_user_stays_for_good_on_a_pod_that_has_forgotten_her)
        self._hold(whoever_can_be_served_is_served)

    def _hold(self, promise: Callable[..., Iterable[str]], *facts: object) -> None:
        sentence = promise.__name__.replace("_", " ")
        if sentence in self.world.promises:
            for how in promise(self, *facts):
                raise Broken(sentence, how, self.world)


PROMISES = (
    "no user stays for good on a pod that has forgotten her",
    "no user of a healthy pod is moved without a reason of that pod",
    "the brake holds whatever is added",
    "whoever can be served is served",
)


def no_user_stays_for_good_on_a_pod_that_has_forgotten_her(judge: Judge) -> Iterator[str]:
    """No user stays for good on a pod that has forgotten her.

    Where nobody else has room, or with Keep, she stays, and her link gets a later epoch: the pod is told that she is
    new.
    """
    yield from judge.wrongly_kept
    if judge.cut_is_doubtful:
        return
    for uid, kept in judge.world.kept.items():
        pod = judge.world.cluster.by_ordinal(kept.ordinal)
        now = pod.process if pod else None
        if pod and now and now.runs and pod.ready and kept.process is not None and kept.process is not now:
            yield f"{uid} is still on pod {kept.ordinal}, whose process has begun since"


def no_user_of_a_healthy_pod_is_moved_without_a_reason_of_that_pod(
    judge: Judge, uid: str, source: int, order: Order
) -> Iterator[str]:
    """No user of a healthy pod is moved without a reason of that pod.

    A pod is healthy to a user as long as the process runs that has her in memory. What the operator has not been shown
    yet it cannot know, so the reason must be true of what it has been shown.
    """
    world, kept = judge.world, judge.world.kept[uid]
    pod = world.cluster.by_ordinal(source)
    if pod is None or pod.process is None or not pod.process.runs or kept.process is not pod.process:
        return
    if not _REASONS[order.reason](judge, kept, pod, source):
        yield f"{uid} leaves pod {source}: {order.reason}"


def the_brake_holds_whatever_is_added(judge: Judge, judgement: Judgement) -> Iterator[str]:
    """The brake holds whatever is added: while too many pods fail, no failover begins.

    Pods that have never served do not count, nor do those that came while failovers were held back.
    """
    for ordinal, verdict in judgement.verdicts.items():
        if verdict.reason in DOWN and ordinal not in judge.down and judge.too_many_fail:
            yield f"pod {ordinal} fails over ({verdict.reason}); of those that have served fail: {judge.members}"


def whoever_can_be_served_is_served(judge: Judge) -> Iterator[str]:
    """Whoever can be served is served.

    A healthy pod takes new users; no user is left on a pod that serves nobody while another has room, unless too many
    fail; and who asks for a pod gets one.
    """
    world = judge.world
    for pod in judge.healthy():
        view = world.store.view(pod.ordinal)
        if not is_routable(view, Heartbeat.AUTO, world.store.config.expire_seconds):
            yield f"pod {pod.ordinal} is healthy, and takes nobody: {view.record.reason if view.record else view.state}"
    for uid, link in world.store.links.items():
        room = [ordinal for ordinal in judge.with_room() if ordinal != link.ordinal]
        view = world.store.view(link.ordinal)
        held = view.record is not None and view.record.reason is Reason.FAILOVER_PAUSED and judge.too_many_may_fail
        if room and not held and _serves_nobody(judge, link.ordinal):
            yield f"{uid} is left on pod {link.ordinal}, which does not serve her, and {room} could"
    for uid in sorted(world.users):
        room = judge.with_room()
        if not world.ask(uid) and room:
            yield f"{uid} finds no pod, and {room} could serve her"


def _serves_nobody(judge: Judge, ordinal: int) -> bool:
    """Whether that can be seen, and should have been."""
    pod = judge.world.cluster.by_ordinal(ordinal)
    if pod is None or pod.finished:
        return True
    process = pod.process
    if process is None or not process.runs or not pod.ready:
        return True
    hangs = process.library and process.hangs is not None and process.since_ms is not None
    return hangs or process.word is RoutingState.SHUTDOWN or ordinal in judge.world.unreachable


# The reasons, as they are in truth

Holds = Callable[[Judge, Kept, Pod, int], bool]


def _shown(judge: Judge, ordinal: int) -> Seen | None:
    operator = judge.world.operator
    facts = operator.workload.by_ordinal().get(ordinal) if operator else None
    return judge.notes[facts.resource_version] if facts else None


def _gone(judge: Judge, _kept: Kept, pod: Pod, ordinal: int) -> bool:
    return _shown(judge, ordinal) is None and judge.world.time.now - max(judge.flows_since, pod.created) < TOLERANCE


def _finished(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    shown = _shown(judge, ordinal)
    return shown is not None and shown.body["status"]["phase"] == "Failed"


def _forgotten(judge: Judge, kept: Kept, _pod: Pod, _ordinal: int) -> bool:
    """She was linked before anybody could tell which process was meant."""
    process = kept.process
    if process is None:
        return True
    known = process.library and process.since_ms is not None and not judge.store_was_set
    return not known and kept.made_at <= judge.first_seen.get(process.container, judge.world.time.now)


def _terminating(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    shown = _shown(judge, ordinal)
    return shown is not None and "deletionTimestamp" in shown.body["metadata"]


def _grace_over(judge: Judge, kept: Kept, pod: Pod, ordinal: int) -> bool:
    over = pod.stops_at is not None and judge.world.time.now >= pod.stops_at - TOLERANCE
    by_stamp = pod.deleted_at is not None and judge.flows_since > pod.deleted_at  # it was shown the last deletion alone
    return (over or by_stamp) and _terminating(judge, kept, pod, ordinal)


def _never_ready(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    shown = _shown(judge, ordinal)
    return shown is not None and not shown.ever_ready


def _unready(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    shown = _shown(judge, ordinal)
    if shown is None or shown.unready_since is None:
        return False
    long_enough = judge.world.time.now - shown.unready_since >= judge.world.policy.delay_seconds - TOLERANCE
    return long_enough or judge.store_set_while_away


def _unreachable(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    since = judge.world.unreachable.get(ordinal)
    if since is None:
        return False
    return judge.store_set_while_away or judge.world.time.now - since >= judge.world.policy.delay_seconds - TOLERANCE


def _drained(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    shown = _shown(judge, ordinal)
    return shown is not None and shown.body["metadata"]["annotations"].get("statefulroute.io/drain") == "true"


def _disowned(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    shown = _shown(judge, ordinal)
    return shown is not None and "app" not in shown.body["metadata"]["labels"]


def _unwanted(judge: Judge, _kept: Kept, _pod: Pod, ordinal: int) -> bool:
    facts = judge.world.operator.workload.facts if judge.world.operator else None
    return facts is not None and facts.wants(ordinal) is False


def _app_shutdown(judge: Judge, _kept: Kept, pod: Pod, _ordinal: int) -> bool:
    process, now = pod.process, judge.world.time.now
    return process is not None and now - process.shut_down_until < TOLERANCE


def _silent(judge: Judge, _kept: Kept, pod: Pod, _ordinal: int) -> bool:
    if pod.process is None or pod.process.published_at is None:
        return False
    expired = judge.world.time.now - pod.process.published_at >= judge.world.policy.expire_seconds - TOLERANCE
    return expired or judge.store_was_set


_REASONS: Mapping[Reason, Holds] = {
    Reason.GONE: _gone,
    Reason.FINISHED: _finished,
    Reason.REPLACED: _forgotten,
    Reason.RESTARTED: _forgotten,
    Reason.GRACE_PERIOD_OVER: _grace_over,
    Reason.CONTAINERS_TERMINATED: _terminating,
    Reason.NODE_LOST: _terminating,
    Reason.NEVER_READY: _never_ready,
    Reason.UNREADY_TOO_LONG: _unready,
    Reason.UNREACHABLE_TOO_LONG: _unreachable,
    Reason.TERMINATING: _terminating,
    Reason.DRAIN_REQUESTED: _drained,
    Reason.SCALED_DOWN: _unwanted,
    Reason.DISOWNED: _disowned,
    Reason.APP_SHUTDOWN: _app_shutdown,
    Reason.HEARTBEAT_LOST: _silent,
}
