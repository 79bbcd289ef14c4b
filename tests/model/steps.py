"""The steps: what may happen in the world, as small numbers that hypothesis draws, and in plain words."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from model.adapter import CAN_HOLD
from model.app import Process
from model.wire import Cable, Fate
from model.world import ORDINALS, SVC, UIDS, Setup, World
from stateful_route.domain.routing import RoutingState

HOUR = 3600

Doing = Callable[[], None]


class Step(NamedTuple):
    """One step: what, and three numbers that say to whom and how."""

    name: str
    a: int = 0
    b: int = 0
    c: int = 0


class Plan(NamedTuple):
    """What to do, and how a history tells of it."""

    words: str
    do: Doing


Planner = Callable[[World, int, int, int], Plan | None]
"""None: there is nobody to do it to."""

TIMES = (0.1, 0.5, 2.0, 6.0, 15.0, 31.0, 0.5, 60.0, 15.0, 110.0, 230.0, 310.0)
RHYTHMS = (0.3, 2.0, 0.3, 2.0, 20.0, 75.0, 110.0, 160.0, 230.0)
FATES = tuple(Fate)


def _uid(number: int) -> str:
    return UIDS[number % len(UIDS)]


def _pod(number: int) -> int:
    return ORDINALS[number % len(ORDINALS)]


def _process(world: World, number: int) -> Process | None:
    living = world.living()
    return living[number % len(living)] if living else None


def _cable(world: World, number: int) -> Cable:
    cables = [cable for cable in world.cables() if cable is not world.operator.cable]
    return cables[number % len(cables)]


def _time(w: World, a: int, b: int, c: int) -> Plan:
    seconds = TIMES[a % len(TIMES)]
    return Plan(f"{seconds:g} s pass", lambda: w.pass_time(seconds))


def _ask(w: World, a: int, b: int, c: int) -> Plan:
    caller = b % 3 % 2  # the one that is told at once more often
    return Plan(f"{_uid(a)} asks through caller {caller}", lambda: w.ask(_uid(a), caller))


def _look_up(w: World, a: int, b: int, c: int) -> Plan:
    return Plan(f"caller {b % 2} looks up where {_uid(a)} is", lambda: w.look_up(_uid(a), b % 2))


def _ask_late(w: World, a: int, b: int, c: int) -> Plan | None:
    process = _process(w, b)
    return process and Plan(
        f"a request of {_uid(a)} reaches {process.name} by an old view", lambda: w.ask_late(_uid(a), process)
    )


def _come(w: World, a: int, b: int, c: int) -> Plan:
    seconds, comes = RHYTHMS[c % len(RHYTHMS)], a // len(UIDS) % 2 == 0
    if not comes and seconds >= 1:
        words = f"caller {b % 2} begins to look up where {_uid(a)} is every {seconds:g} s"
        return Plan(words, lambda: w.ask_often(_uid(a), b % 2, seconds, comes=False))
    words = f"{_uid(a)} begins to ask through caller {b % 2} every {seconds:g} s"
    return Plan(words, lambda: w.ask_often(_uid(a), b % 2, seconds))


def _hold(w: World, a: int, b: int, c: int) -> Plan | None:
    if not CAN_HOLD:
        return None
    return Plan(f"caller {b % 2} holds the link of {_uid(a)}", lambda: w.hold(_uid(a), b % 2))


def _rest(w: World, a: int, b: int, c: int) -> Plan:
    return Plan(f"{_uid(a)} rests", lambda: w.rest(_uid(a)))


def _forget(w: World, a: int, b: int, c: int) -> Plan:
    return Plan(f"caller {b % 2} forgets {_uid(a)}", lambda: w.forget(_uid(a), b % 2))


def _deafen(w: World, a: int, b: int, c: int) -> Plan:
    return Plan(f"push to caller {b % 2} is lost from now on, or comes again", lambda: w.deafen(b % 2))


def _start(w: World, a: int, b: int, c: int) -> Plan | None:
    ordinal = _pod(a)
    if w.setup.plain and ordinal == ORDINALS[-1]:
        return None
    how = "while its former process lives on, cut off" if w.current(ordinal) else "anew"
    return Plan(f"a new pod {ordinal} starts {how}", lambda: w.start(ordinal))


def _restart(w: World, a: int, b: int, c: int) -> Plan | None:
    return Plan(f"pod {_pod(a)} is killed and restarts", lambda: w.restart(_pod(a))) if w.current(_pod(a)) else None


def _kill(w: World, a: int, b: int, c: int) -> Plan | None:
    return Plan(f"pod {_pod(a)} is killed", lambda: w.kill(_pod(a))) if w.current(_pod(a)) else None


def _stop(w: World, a: int, b: int, c: int) -> Plan | None:
    seconds = (20.0, 20.0, 2.0)[c % 3]
    if w.current(_pod(a)) is None:
        return None
    return Plan(f"pod {_pod(a)} is asked to stop within {seconds:g} s", lambda: w.stop(_pod(a), seconds))


def _state(w: World, a: int, b: int, c: int) -> Plan | None:
    state = (RoutingState.READY, RoutingState.DENY_NEW_CALL)[b % 2]
    if w.current(_pod(a)) is None:
        return None
    return Plan(f"the app of pod {_pod(a)} says {state}", lambda: w.set_state(_pod(a), state))


def _seize(w: World, a: int, b: int, c: int) -> Plan | None:
    how = ("set_linked_pod", "try_set_linked_pod", "remove_linked_pod", "remove_linked_pod_with_id")[c % 4]
    process = _process(w, b)
    return process and Plan(
        f"the app of {process.name} calls {how} for {_uid(a)}", lambda: w.seize(_uid(a), process, how)
    )


def _save(w: World, a: int, b: int, c: int) -> Plan | None:
    process = _process(w, b)
    return process and Plan(f"{process.name} saves {_uid(a)}", lambda: w.save(_uid(a), process))


def _fail_save(w: World, a: int, b: int, c: int) -> Plan | None:
    process = _process(w, b)
    return process and Plan(f"the next release of {process.name} fails to save", lambda: w.fail_save(process))


def _suspend(w: World, a: int, b: int, c: int) -> Plan | None:
    process, what = _process(w, b), ("saving", "working")[c % 2]
    return process and Plan(f"{what} of {process.name} stands still, or goes on", lambda: w.suspend(process, what))


def _operate(how: str, words: str) -> Planner:
    def plan(w: World, a: int, b: int, c: int) -> Plan | None:
        if not w.setup.operator:
            return None
        return Plan(words.format(_pod(a)), lambda: w.operate(how, _pod(a)))

    return plan


def _die(w: World, a: int, b: int, c: int) -> Plan | None:
    if not w.setup.operator:
        return None
    words = f"the operator moves the links of pod {_pod(a)}, which has failed, and dies as soon as some have moved"
    return Plan(words, lambda: w.die_moving(_pod(a)))


def _resync(w: World, a: int, b: int, c: int) -> Plan | None:
    return Plan("the operator writes all it has to say", w.resync) if w.setup.operator else None


def _cut(w: World, a: int, b: int, c: int) -> Plan:
    cable, refuses = _cable(w, a), c % 2 == 0
    how = "which refuses it" if refuses else "which does not answer it"
    return Plan(f"{cable.name} is cut off from the store, {how}", lambda: w.cut(cable, refuses=refuses))


def _isolate(w: World, a: int, b: int, c: int) -> Plan | None:
    """Who is cut off is not Ready for long: the operator moves its users."""
    process = w.current(_pod(a))
    if process is None or not w.setup.operator:
        return None
    words = f"{process.name} is cut off from the store; the operator finds that it has failed, and moves its links"
    return Plan(words, lambda: w.isolate(process, refuses=c % 2 == 0))


def _roll(w: World, a: int, b: int, c: int) -> Plan | None:
    ordinal = _pod(a)
    if w.current(ordinal) is None:
        return None
    return Plan(f"pod {ordinal} stops within 20 s, which pass", lambda: w.roll(ordinal))


def _mend(w: World, a: int, b: int, c: int) -> Plan | None:
    broken = [cable for cable in w.cables() if not cable.up]
    if not broken:
        return None
    cable, blind = broken[a % len(broken)], 4 * (c % 2)
    how = ", but not with its next look at the states" if blind else ""
    return Plan(f"{cable.name} reaches the store again{how}", lambda: w.mend(cable, blind))


def _spoil(w: World, a: int, b: int, c: int) -> Plan:
    cable, fate = _cable(w, a), FATES[c % len(FATES)]
    return Plan(f"the next write of {cable.name} {fate.value}", lambda: w.spoil(cable, fate))


def _release(w: World, a: int, b: int, c: int) -> Plan | None:
    held = [cable for cable in w.cables() if not cable.gate.is_set()]
    if not held:
        return None
    cable = held[a % len(held)]
    return Plan(f"what was held up of {cable.name} passes", lambda: w.release(cable))


def _flush(w: World, a: int, b: int, c: int) -> Plan:
    return Plan("the store is emptied", w.flush)


def _clock(w: World, a: int, b: int, c: int) -> Plan:
    shift = (HOUR, 0, -HOUR)[a % 3]
    return Plan(f"the server's clock is {shift} s wrong from now on", lambda: w.step_clock(shift))


def _remove(w: World, a: int, b: int, c: int) -> Plan:
    ordinal, seconds = (None, *ORDINALS)[b % 4], (0, 60)[c % 2]
    whom = f"if it is with pod {ordinal}" if ordinal is not None else "whoever has it"
    words = f"somebody removes the link of {_uid(a)}, {whom}, kept for {seconds} s"
    return Plan(words, lambda: w.remove(_uid(a), seconds, ordinal))


def _purge(w: World, a: int, b: int, c: int) -> Plan:
    return Plan("somebody deletes all links", w.purge)


def _foreign(w: World, a: int, b: int, c: int) -> Plan:
    ordinal, seconds = (*ORDINALS, None)[b % 4], (None, 100)[c % 2]
    what = "deletes the link of" if ordinal is None else f"links to pod {ordinal}, for {seconds or 'ever'},"
    return Plan(f"a foreign client {what} {_uid(a)} ({SVC})", lambda: w.write_foreign(_uid(a), ordinal, seconds))


PLANNERS: Mapping[str, Planner] = {
    "time": _time,
    "ask": _ask,
    "look up": _look_up,
    "ask late": _ask_late,
    "come": _come,
    "hold": _hold,
    "rest": _rest,
    "forget": _forget,
    "deafen": _deafen,
    "start": _start,
    "restart": _restart,
    "kill": _kill,
    "stop": _stop,
    "state": _state,
    "seize": _seize,
    "save": _save,
    "fail save": _fail_save,
    "suspend": _suspend,
    "ready": _operate("ready", "the operator says that pod {} is ready"),
    "drain": _operate("drain", "the operator drains pod {} by itself"),
    "drain by app": _operate("drain_by_app", "the operator asks the app of pod {} to give its users away"),
    "fail": _operate("fail", "the operator finds that pod {} has failed, and moves its links"),
    "replaced": _operate("replaced", "the operator notes that pod {} was replaced"),
    "die": _die,
    "resync": _resync,
    "cut": _cut,
    "isolate": _isolate,
    "roll": _roll,
    "mend": _mend,
    "spoil": _spoil,
    "release": _release,
    "flush": _flush,
    "clock": _clock,
    "remove": _remove,
    "purge": _purge,
    "foreign": _foreign,
}

OFTEN = ("time", "time", "ask", "ask")
THEMES: Sequence[Sequence[str]] = (
    (*OFTEN, "look up", "look up", "come", "fail", "drain", "ready", "start"),
    (*OFTEN, "look up", "forget", "come", "rest", "hold", "state", "ready", "drain", "ask late"),
    ("time", "time", "ask", "come", "come", "come", "stop", "start", "drain by app", "drain by app", "ready"),
    (*OFTEN, "come", "stop", "start", "drain by app", "ready", "suspend", "fail save", "save"),
    (*OFTEN, "cut", "mend", "mend", "fail", "isolate", "ready", "roll", "stop", "start"),
    ("time", "ask", "ask", "ask", "isolate", "roll", "mend", "mend", "start", "ready"),
    (*OFTEN, "cut", "mend", "start", "replaced", "restart", "kill", "flush", "resync", "ask late"),
    (*OFTEN, "look up", "ask late", "drain", "fail", "die", "ready", "seize", "remove", "purge", "deafen"),
    (*OFTEN, "spoil", "spoil", "release", "stop", "start", "fail", "ready", "drain by app"),
    (*OFTEN, "foreign", "clock", "remove", "seize", "flush", "resync", "come", "restart"),
    (*OFTEN, *PLANNERS),
)
"""Each history keeps to some kinds of steps, so that those meet often."""

NUMBERS = st.integers(0, 11)
SETUPS = st.builds(
    Setup,
    operator=st.sampled_from([True, True, True, False]),
    plain=st.booleans(),
    push=st.booleans(),
    save_seconds=st.sampled_from([0.2, 1.0, 0.02]),
    work_seconds=st.sampled_from([0.0, 0.0, 0.1, 0.7]),
)


def histories(least: int, most: int) -> st.SearchStrategy[list[Step]]:
    """Some steps, all of one theme."""

    def of(theme: Sequence[str]) -> st.SearchStrategy[list[Step]]:
        step = st.builds(Step, st.sampled_from(theme), NUMBERS, NUMBERS, NUMBERS)
        return st.lists(step, min_size=least, max_size=most)

    return st.sampled_from(THEMES).flatmap(of)


def take(world: World, step: Step) -> None:
    """Do one step, and look whether all promises are kept."""
    plan = PLANNERS[step.name](world, step.a, step.b, step.c)
    if plan is None:
        return
    world.story.append(f"{world.now - 1000:9.3f}  {plan.words}")
    plan.do()
    world.judge.verdict()
