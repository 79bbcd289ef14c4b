"""What the reference says of one link, as plain values: the state before an operation, and what becomes of it.

No store and no epochs' numbers: those are the server's; the model says when a link gets a new one, and when it is told.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stateful_route.domain.errors import StoreRejected
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.links import PERSISTENT, Candidates, Computed, Link, Relinked, Tried
from stateful_route.store.migrate import Batch

REFUSED = "refused"
"""As a reply: `StoreRejected`, nothing was changed."""

GARBAGE = "elsewhere"
"""As a link's value: what a foreign client may put there; it names no pod."""


class Standing(NamedTuple):
    """All that the store holds for one uid and service; None: it is not there."""

    link: str | None = None
    lasting: bool = False
    field: str | None = None
    indexed: int | None = None

    @property
    def pod(self) -> int | None:
        return None if self.link in {None, GARBAGE} else int(self.link or 0)

    @property
    def retained(self) -> bool:
        """Removed with a delay: it is still found, and nobody owns it."""
        return self.link is not None and not self.lasting and self.field is None

    @property
    def entered(self) -> bool:
        """The index knows of the link: it has an epoch."""
        return self.pod is not None and self.indexed == self.pod


class Step(NamedTuple):
    """What an operation does: the reply but for the epoch, whether that is told (else it is -1 or not in the reply)."""

    after: Standing
    reply: Any
    renewed: bool = False
    told: bool = False


def _linked(pod: int, seconds: int) -> Standing:
    return Standing(str(pod), seconds == PERSISTENT, str(pod), pod)


def set_link(now: Standing, pod: int, seconds: int) -> Step:
    same = now.pod == pod == now.indexed and not now.retained
    return Step(_linked(pod, seconds), now.pod, renewed=not same, told=True)


def try_set_link(now: Standing, pod: int, seconds: int) -> Step:
    if now.lasting and now.pod not in {None, pod}:
        return Step(now, (False, now.pod, now.pod), told=now.entered)
    return set_link(now, pod, seconds)._replace(reply=(True, pod, now.pod))


def set_link_if_absent(now: Standing, pod: int, seconds: int) -> Step:
    if now.link == GARBAGE:
        return Step(now, REFUSED)
    if now.pod is None:
        return Step(_linked(pod, seconds), pod, renewed=True, told=True)
    return Step(now._replace(indexed=now.pod), now.pod, renewed=not now.entered, told=True)


def compute_link_if_absent(now: Standing, candidates: Candidates, seconds: int) -> Step:
    if now.link == GARBAGE:
        return Step(now, REFUSED)
    if now.pod is not None and now.pod not in candidates.dead:
        return set_link_if_absent(now, now.pod, seconds)._replace(reply=(now.pod, now.pod))
    living = [pod for pod in candidates.loads if pod not in candidates.dead]
    if not living:
        return Step(now, None)
    lowest = min(candidates.loads[pod] for pod in living)
    best = [pod for pod in living if candidates.loads[pod] == lowest]
    chosen = best[candidates.turn % len(best)]
    return Step(_linked(chosen, seconds), (chosen, now.pod), renewed=True, told=True)


def get_link(now: Standing) -> Step:
    return Step(now, REFUSED if now.link == GARBAGE else now.pod, told=now.entered)


def get_link_if_persist(now: Standing) -> Step:
    return get_link(now) if now.lasting else Step(now, None)


def is_owner(now: Standing, pod: int) -> Step:
    """The fence, asked with the epoch that stands now."""
    return Step(now, now.entered and now.pod == pod and not now.retained)


def remove_linked_pod(now: Standing, keep: int) -> Step:
    if keep and now.pod is not None:
        return Step(now._replace(lasting=False, field=None, indexed=now.pod), True, renewed=True)
    return Step(Standing(), now.link is not None)


def remove_linked_pod_with_id(now: Standing, pod: int, keep: int) -> Step:
    return remove_linked_pod(now, keep) if now.pod == pod else Step(now, False)


def migrate(now: Standing, source: int, goal: int) -> Step:
    """Moving the one link; the reply is the goal, or why it was not moved."""
    if now.indexed != source:
        return Step(now, "OVERTAKEN")
    if now.pod == source:
        field = None if now.retained else str(goal)
        moved = now if goal == source else now._replace(link=str(goal), field=field, indexed=goal)
        return Step(moved, goal, renewed=True, told=True)
    if now.pod is not None:
        return Step(now._replace(indexed=now.pod), "DRIFT", renewed=True)
    if now.link is not None:
        return Step(now._replace(indexed=None), "FOREIGN")
    return Step(now._replace(indexed=None, field=None if now.field == str(source) else now.field), "DRIFT")


def repair(now: Standing) -> Step:
    """The look at one uid, by whichever walk it was found."""
    field = None if now.link is None else now.field
    entered = now.entered or now.pod is None
    return Step(now._replace(indexed=now.pod, field=field), None, renewed=not entered)


def expire(now: Standing) -> Step:
    """The end of a temporary link's time; a persistent one has none. The reply: whether it had one."""
    if now.link is None or now.lasting:
        return Step(now, False)
    return Step(now._replace(link=None), True)


MODEL: dict[str, Callable[..., Step]] = {
    operation.__name__: operation
    for operation in (
        set_link,
        try_set_link,
        set_link_if_absent,
        compute_link_if_absent,
        get_link,
        get_link_if_persist,
        is_owner,
        remove_linked_pod,
        remove_linked_pod_with_id,
        migrate,
        expire,
    )
}


class Answer(NamedTuple):
    """What a client was told: the reply but for the epoch, and the epoch; None: it was told none."""

    reply: Any
    epoch: int | None = None


def understood(reply: Any) -> Answer:
    """An executor's reply, or the error that it raised, taken apart as the model has it."""
    match reply:
        case StoreRejected():
            return Answer(REFUSED)
        case Exception():
            raise reply
        case Relinked(previous, epoch):
            return Answer(previous, epoch)
        case Tried(done, ordinal, epoch, previous):
            return Answer((done, ordinal, previous), epoch if epoch >= 0 else None)
        case Computed(ordinal, epoch, previous):
            return Answer((ordinal, previous), epoch)
        case Link(ordinal, epoch):
            return Answer(ordinal, epoch if epoch >= 0 else None)
    return Answer(reply)


async def asked_of(executor: StatefulExecutor, service: Service, uid: str, name: str, args: Sequence[Any]) -> Answer:
    """Let an executor do one of the model's operations on one link (not expire); raises its errors."""
    if name == "migrate":
        source, goal = args
        batch = Batch(service.bucket(uid), [uid], [goal])
        (result,) = await executor.migrate(service.namespace, service.name, source, [batch], reason="Test")
        for moved in result.moved:
            return Answer(moved.to, moved.epoch)
        return Answer(result.outcomes[0].name)
    return understood(await getattr(executor, name)(service.namespace, uid, service.name, *args))


async def carried_out(executor: StatefulExecutor, service: Service, uid: str, name: str, args: Sequence[Any]) -> Answer:
    """As `asked_of`, with a refusal as an answer."""
    try:
        return await asked_of(executor, service, uid, name, args)
    except StoreRejected as error:
        return understood(error)
