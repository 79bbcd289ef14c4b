"""The steps: what may happen, as small numbers that hypothesis draws, and in plain words."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from rules.cluster import Pod, Process
from rules.world import Setup, World
from stateful_route.domain.routing import RoutingState

ODD = 37.7
"""No clock is set by a whole number of anything."""


class Step(NamedTuple):
    """One step: what, and two numbers that say to whom and how."""

    name: str
    a: int = 0
    b: int = 0


class Plan(NamedTuple):
    """What to do, and how a history tells of it."""

    words: str
    do: Callable[[], object]


Planner = Callable[[World, int, int], Plan | None]
"""None: there is nobody to do it to."""

TIMES = (4.0, 12.0, 0.3, 1.3, 31.0, 70.0)


def _time(w: World, a: int, b: int) -> Plan:
    seconds = TIMES[a % len(TIMES)]
    return Plan(f"{seconds:g} s pass", lambda: w.pass_time(seconds))


def _calm(w: World, a: int, b: int) -> Plan:
    return Plan("all settles", w.calm)


def _arrive(w: World, a: int, b: int) -> Plan:
    return Plan("a user comes", w.arrive)


def _leave(w: World, a: int, b: int) -> Plan | None:
    if not w.users:
        return None
    uid = sorted(w.users)[a % len(w.users)]
    return Plan(f"{uid} leaves", lambda: w.leave(uid))


def _ask(w: World, a: int, b: int) -> Plan:
    def all_ask() -> None:
        for uid in sorted(w.users):
            w.ask(uid)

    return Plan("all users ask", all_ask)


def _pod(w: World, a: int) -> Pod | None:
    pods = sorted((pod for pod in w.cluster.pods.values() if not pod.finished), key=lambda pod: pod.ordinal)
    return pods[a % len(pods)] if pods else None


def _to_pod(words: str, do: Callable[[World, Pod], object]) -> Planner:
    """A step that happens to a pod on a node that is there."""

    def plan(w: World, a: int, b: int) -> Plan | None:
        pod = _pod(w, a)
        if pod is None or not w.cluster.nodes[pod.node].up:
            return None
        return Plan(words.format(f"pod {pod.ordinal} ({pod.uid})"), lambda: do(w, pod))

    return plan


def _to_process(words: str, do: Callable[[World, Pod, Process], object], *, library: bool = False) -> Planner:
    """A step that happens to a running process."""

    def plan(w: World, a: int, b: int) -> Plan | None:
        pod = _pod(w, a)
        if pod is None or pod.process is None or not pod.process.runs or (library and not pod.process.library):
            return None
        if not w.cluster.nodes[pod.node].up:
            return None
        process = pod.process
        return Plan(words.format(f"pod {pod.ordinal} ({pod.uid})"), lambda: do(w, pod, process))

    return plan


def _set_probe(w: World, pod: Pod) -> None:
    pod.probe = not pod.probe
    w.cluster.probe(pod)


def _all_fail(w: World, a: int, b: int) -> Plan:
    def fail() -> None:
        for pod in list(w.cluster.pods.values()):
            if b % 2 or pod.ordinal % 3 != a % 3:
                pod.probe = False
                w.cluster.probe(pod)

    return Plan("the readiness probes of " + ("all pods" if b % 2 else f"all pods but {a % 3}, …") + " fail", fail)


def _hang(w: World, pod: Pod, process: Process) -> None:
    process.hangs = None if process.hangs is not None else w.time.now
    pod.probe = process.hangs is None
    w.cluster.probe(pod)


def _silence(w: World, pod: Pod, process: Process) -> None:
    process.hangs = None if process.hangs is not None else w.time.now


def _word(w: World, pod: Pod, process: Process) -> None:
    words = RoutingState.SHUTDOWN, RoutingState.READY
    w.say(process, pod, words[process.word is RoutingState.SHUTDOWN])


def _scale(w: World, a: int, b: int) -> Plan:
    start, replicas = (0, 0, 0, 2)[b % 4], 1 + a % 6
    words = f"the StatefulSet wants {replicas} pods, from {start} on"
    return Plan(words, lambda: w.cluster.scale(start, replicas))


def _orphan(w: World, a: int, b: int) -> Plan:
    return Plan("the StatefulSet is deleted without its pods, or made anew", w.cluster.orphan)


def _node(w: World, a: int, b: int) -> Plan:
    name = f"node-{a % 3}"
    if w.cluster.nodes[name].up:
        dies = b % 2 == 0
        words = f"{name} is lost, and its processes {'end' if dies else 'go on'}"
        return Plan(words, lambda: w.cluster.lose(name, dies=dies))
    return Plan(f"{name} comes back", lambda: w.cluster.bring_back(name))


def _operator(w: World, a: int, b: int) -> Plan:
    if w.operator is None:
        return Plan("the operator comes", w.start_operator)
    return Plan("the operator goes away", w.stop_operator)


def _replace_operator(w: World, a: int, b: int) -> Plan | None:
    if w.operator is None:
        return None

    def replace() -> None:
        w.stop_operator()
        w.start_operator()

    return Plan("the operator is restarted", replace)


def _watch(w: World, a: int, b: int) -> Plan | None:
    if w.operator is None:
        return None
    return Plan("the watch stands still" if w.stalled is None else "the watch goes on", w.stall)


SHIFTS = (-3600.0 - ODD, 3600.0 + ODD, 0.0, -5.0 - ODD, 5.0 + ODD)


def _kubelet_clock(w: World, a: int, b: int) -> Plan:
    name, shift = f"node-{a % 3}", SHIFTS[b % len(SHIFTS)]

    def set_clock() -> None:
        w.cluster.nodes[name].shift = shift
        w.judge.clock_set("kubelet")

    return Plan(f"the clock of {name} is {shift:g} s wrong from now on", set_clock)


def _store_clock(w: World, a: int, b: int) -> Plan:
    shift = SHIFTS[b % len(SHIFTS)]

    def set_clock() -> None:
        w.time.store_shift = shift
        w.judge.clock_set("store")

    return Plan(f"the clock of the store is {shift:g} s wrong from now on", set_clock)


def _delete_again(w: World, a: int, b: int) -> Plan | None:
    pod = _pod(w, a)
    if pod is None or pod.deleted_at is None or not pod.deleted_at < w.time.now - 1 or w.stalled is not None:
        return None
    return Plan(f"pod {pod.ordinal} ({pod.uid}) is deleted with a grace of 2 s", lambda: w.cluster.delete(pod, 2.0))


PLANNERS: Mapping[str, Planner] = {
    "time": _time,
    "calm": _calm,
    "arrive": _arrive,
    "leave": _leave,
    "ask": _ask,
    "kill": _to_pod("the container of {} is killed", lambda w, pod: w.cluster.kill(pod)),
    "sandbox": _to_pod("the sandbox of {} is killed", lambda w, pod: w.cluster.kill_sandbox(pod)),
    "wiped": _to_pod(
        "another container of {} starts, which nobody counts", lambda w, pod: w.cluster.kill_sandbox(pod, counts=False)
    ),
    "resize": _to_pod("the memory of {} is resized, which restarts it", lambda w, pod: w.cluster.resize(pod)),
    "probe": _to_pod("the readiness probe of {} fails, or succeeds again", _set_probe),
    "all fail": _all_fail,
    "kubelet": _to_pod("the kubelet of {} begins anew", lambda w, pod: w.cluster.restart_kubelet(pod)),
    "reject": _to_pod("the kubelet of {} begins anew under disk pressure", lambda w, pod: w.cluster.reject(pod)),
    "evict": _to_pod("{} is evicted for the pressure on its node", lambda w, pod: w.cluster.evict(pod)),
    "delete": _to_pod("{} is deleted", lambda w, pod: w.cluster.delete(pod)),
    "delete quickly": _to_pod("{} is deleted, and stops soon", lambda w, pod: w.cluster.delete(pod, quick=True)),
    "delete again": _delete_again,
    "force": _to_pod("{} is deleted by force", lambda w, pod: w.cluster.delete_by_force(pod)),
    "drain": _to_pod("somebody asks to drain {}, or no more", lambda w, pod: w.cluster.annotate(pod)),
    "relabel": _to_pod("the label of {} leaves the selector, or comes back", lambda w, pod: w.cluster.relabel(pod)),
    "hang": _to_process("the process of {} hangs, or goes on", _hang),
    "silence": _to_process("the library of {} falls silent, or speaks again", _silence, library=True),
    "word": _to_process("the app of {} says SHUTDOWN, or READY again", _word, library=True),
    "reach": _to_process(
        "{} does not answer the operator, or does again", lambda w, pod, process: w.deafen(pod.ordinal, process)
    ),
    "scale": _scale,
    "orphan": _orphan,
    "node": _node,
    "operator": _operator,
    "replace operator": _replace_operator,
    "watch": _watch,
    "kubelet clock": _kubelet_clock,
    "store clock": _store_clock,
}

OFTEN = ("time", "time", "time", "arrive", "ask")
AWAY = ("operator", "operator", "replace operator", "watch")
LIVES = ("kill", "sandbox", "wiped", "resize", "force", "delete", "delete quickly")
THEMES: Sequence[Sequence[str]] = (
    (*OFTEN, *AWAY, *LIVES, "probe"),
    (*OFTEN, *AWAY, *LIVES, "kubelet clock", "kubelet clock", "store clock"),
    (*OFTEN, "probe", "probe", "all fail", "scale", "scale", "kill", "replace operator", "calm"),
    (*OFTEN, "probe", "all fail", "scale", "delete", "reach", "word", "silence", "operator"),
    (*OFTEN, "leave", "kill", "sandbox", "probe", "scale", "calm", "drain"),
    (*OFTEN, "delete", "delete again", "delete quickly", "force", "scale", "drain", "operator", "node"),
    (*OFTEN, "node", "node", "node", "force", "kill", "scale", "watch"),
    (*OFTEN, "reject", "evict", "kubelet", "resize", "kill", "watch", "operator"),
    (*OFTEN, "orphan", "relabel", "drain", "delete", "scale", "operator"),
    (*OFTEN, "hang", "silence", "word", "kill", "operator", "store clock"),
    (*OFTEN, *PLANNERS),
)
"""Each history keeps to some kinds of steps, so that those meet often."""

NUMBERS = st.integers(0, 11)
KEEP = st.sampled_from(["Move", "Move", "Keep"])
SETUPS = st.builds(
    Setup,
    pods=st.sampled_from([3, 2, 5, 1]),
    libraries=st.tuples(st.booleans(), st.booleans()),
    on_restart=KEEP,
    on_replace=KEEP,
    by_app=st.booleans(),
    max_links=st.sampled_from([0, 0, 2, 1]),
    users=st.sampled_from([4, 1, 6]),
)


def histories(most: int, themes: Sequence[Sequence[str]] = THEMES) -> st.SearchStrategy[list[Step]]:
    """Some steps, all of one theme."""

    def of(theme: Sequence[str]) -> st.SearchStrategy[list[Step]]:
        return st.lists(st.builds(Step, st.sampled_from(theme), NUMBERS, NUMBERS), max_size=most)

    return st.sampled_from(themes).flatmap(of)


def take(world: World, step: Step) -> None:
    """Do one step."""
    plan = PLANNERS[step.name](world, step.a, step.b)
    if plan is None:
        return
    world.note(plan.words)
    plan.do()
    world.pass_time(0)
