"""``wait-drained``, for the preStop hook of an application without the library; it needs redis alone."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stateful_route.domain.aliveness import PodView
from stateful_route.domain.errors import (
    InvalidArgument,
    Replaced,
    StatefulRouteError,
    StoreRejected,
    StoreUnavailable,
)
from stateful_route.domain.option_checks import check_period
from stateful_route.domain.placement import nobody_takes
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.drivers.identity import INDEX, NAME, NAMESPACE, SERVICE, UID, Identity
from stateful_route.store.connection import Store
from stateful_route.store.index import count_links, links_of_pod
from stateful_route.store.keys import Service
from stateful_route.store.layout import check_layout
from stateful_route.store.runtime import hear
from stateful_route.store.states import get_service, get_service_pod, stop_pod

DONE, FAILED, USAGE, NOT_EMPTY = 0, 1, 2, 3

LOOK_SECONDS = 0.5
SHARE = 5
"""A look takes at most one part in so many of the time: on a large Cluster it is 16,384 calls."""

NOTICE_SECONDS = 3.0
"""An empty pod that still is READY, or that nobody knows: the operator may not have noticed yet that it is to stop, and
users still come. Until then nobody is said to be late."""

REMIND_SECONDS = 10.0

STOP_SECONDS = 60.0
"""After the deadline: a pod that is still there so much later, in the same life, has not stopped."""

CLOSE_SECONDS = 0.2
"""Connections are closed within so much; the process ends anyway."""

Say = Callable[[str], None]

HELP = """\
Asks for this pod to be drained, and waits until no user is linked to it any more: the preStop hook of an application
that does not use the library. It needs the store alone: whoever stops the pod or restarts its container, from now on it
takes no new users, and the operator moves those it has.
"""

EXAMPLES = """\
which pod this is comes from POD_NAME, POD_NAMESPACE and POD_UID, as the Downward API sets them, unless options say so.
Set all three: without POD_UID the hook of a former pod may stop its successor, which then takes no new users.

a pod that does not stop after all takes new users again a minute after the deadline.

exit codes:
  0  no user is linked to the pod; it says so when nobody knows the pod, whose name may be wrong
  1  the store refuses, or is not one that this version can read
  2  a wrong argument, or nothing says which pod this is, or where the store is
  3  the deadline is over and users are left, or the store has not answered until then

examples:
  stateful-route wait-drained --deadline-seconds 25
  stateful-route wait-drained -n games --pod rooms-1 --redis-url redis://valkey:6379

  lifecycle:
    preStop:
      exec:
        command: [stateful-route, wait-drained, --deadline-seconds, "25"]
"""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod index of a service, and what to call it.

    Attributes:
        service: Of which service.
        ordinal: Its index.
        name: What it is called.
        uid: Kubernetes' uid of it, by which its successor is told apart; empty: nobody has said it.
    """

    service: Service
    ordinal: int
    name: str
    uid: str = ""


def main(words: Sequence[str]) -> int:
    """Run the command with these arguments; its exit code."""
    parser = _parser()
    options = parser.parse_args(words)
    if not options.redis_url:
        parser.error("no store is given: use --redis-url or STATEFUL_ROUTE_REDIS_URL")
    try:
        check_period(options.deadline_seconds, "--deadline-seconds")
        identity = Identity.from_environment(_environment(options, os.environ))
        store = Store.from_url(options.redis_url)
    except InvalidArgument as error:
        parser.error(str(error))
    name = os.environ.get(NAME) if options.pod is None else options.pod
    uid = os.environ.get(UID, "") if options.pod in {None, os.environ.get(NAME)} else ""  # it is this pod's
    pod = Pod(identity.target, identity.ordinal, name or f"{identity.service}-{identity.ordinal}", uid)
    say: Say = (lambda _: None) if options.quiet else _say
    try:
        return asyncio.run(_session(store, pod, options.deadline_seconds, say))
    except StatefulRouteError as error:
        _say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return 130


async def wait_drained(
    store: Store, pod: Pod, deadline_seconds: float, say: Say, hook: "Hook | None" = None
) -> int | None:
    """Wait until the pod's index is empty, and hear of the progress; how many links are left in the end.

    An empty pod that takes new users still, or that nobody knows, is looked at for `NOTICE_SECONDS`: the operator may
    not have noticed yet.
    It ends at the deadline, also when the store does not answer a question that is under way.

    Args:
        store: Where.
        pod: Which.
        deadline_seconds: Wait no longer.
        say: Hears of the progress.
        hook: Asks for the drain; None: somebody else has.

    Returns:
        0 when the pod is empty; None when the store has not answered at the last look.

    Raises:
        StoreRejected: the store refuses.
    """
    began = time.monotonic()
    end = began + deadline_seconds
    left: int | None = None
    said, said_at = "", began
    while True:
        looked_at = time.monotonic()
        try:
            looks = await hear([lambda: _look(store, pod, hook)], lambda done: 0 if done else end - time.monotonic())
            if looks:
                left, view, obstacle = looks[0]
                known = hook is None or hook.knows
                late = looked_at - began >= min(NOTICE_SECONDS, deadline_seconds)
                text = _told(left, view, asked=hook is not None, late=late) if known else _doubt(left, pod)
                text = f"{text}; {obstacle}" if obstacle else text
                noticed = known and view.effective is not RoutingState.READY
                if left == 0 and (noticed or late):
                    say(f"{pod.name} {'is empty' if known else 'has no users'} after {time.monotonic() - began:.1f} s")
                    return 0
            elif left is None or time.monotonic() - looked_at >= LOOK_SECONDS:
                left, text = None, "the store does not answer"
            else:  # it was asked a moment before the deadline
                return left
        except Replaced as error:
            say(str(error))
            return 0
        except StoreUnavailable as error:
            left, text = None, f"{error}; trying again"
        now = time.monotonic()
        if text != said or now - said_at >= REMIND_SECONDS:
            say(f"{pod.name}: {text}")
            said, said_at = text, now
        if now >= end:
            return left
        await asyncio.sleep(min(max(LOOK_SECONDS, SHARE * (now - looked_at)), end - now))


class Hook:
    """A preStop hook's request: says in the store that its pod stops, and again when that is lost.

    Attributes:
        knows: Whether the store knew the pod at the last look.
    """

    def __init__(self, pod: Pod, deadline_seconds: float, say: Say) -> None:
        self._pod = pod
        self._until = time.monotonic() + deadline_seconds + STOP_SECONDS
        self._say = say
        self._uid = pod.uid
        self._said = self._refused = False
        self.knows = True

    async def ask(self, store: Store, view: PodView) -> PodView:
        """Ask for the drain where nobody has noted it; the pod as it is then.

        Without ``POD_UID`` it is the pod that the operator knows at the first look: a hook begins before its pod has a
        successor.

        Raises:
            Replaced: the pod has a successor.
            StoreUnavailable: see there.
        """
        noted = view.state is not None and view.state.stops is not None
        if self._refused or (self._said and noted):
            return view
        if not self._uid and view.record is not None and view.record.incarnation is not None:
            self._uid = view.record.incarnation.pod_uid
        pod = self._pod
        try:
            effective = await stop_pod(store, pod.service, pod.ordinal, self._uid, self._until - time.monotonic())
        except Replaced:
            raise
        except StoreRejected as error:
            self._refused = True
            self._say(f"{pod.name} cannot ask for its drain, it is drained when it is deleted: {error}")
            return view
        self._said = effective is not None
        return await get_service_pod(store, pod.service, pod.ordinal)


async def _look(store: Store, pod: Pod, hook: Hook | None) -> tuple[int, PodView, str | None]:
    """How many links the pod has, what the store knows of it, and why nobody can take them (None: somebody can)."""
    await check_layout(store, stamp=False)
    view = await get_service_pod(store, pod.service, pod.ordinal)
    if hook is not None:
        view = await hook.ask(store, view)
        hook.knows = view.state is not None or view.record is not None
    obstacle = await obstacle_to_moving(store, pod.service, pod.ordinal)  # first: those who move take the room
    left = 0
    async for buckets in links_of_pod(store, pod.service, pod.ordinal):
        left += sum(len(bucket.uids) for bucket in buckets)
    return left, view, obstacle if left else None


async def obstacle_to_moving(store: Store, service: Service, ordinal: int) -> str | None:
    """Why no other pod can take the links of this one; None: one can, or the store's user may not know."""
    try:
        seen = await get_service(store, service)
        ready = [o for o, one in seen.pods.items() if o != ordinal and one.effective is RoutingState.READY]
        limit = seen.config.placement.max_links
        links = await count_links(store, service) if ready and limit > 0 else {}
    except StoreRejected:
        return None
    return nobody_takes({o: links.get(o, 0) for o in ready}, limit)


def _unknown(pod: Pod) -> str:
    names = "POD_NAME, POD_NAMESPACE (and the service's name)"
    return f"nobody knows {pod.service} pod {pod.ordinal}: are {names} right?"


def _doubt(left: int, pod: Pod) -> str:
    """How far it is with a pod that nobody knows."""
    return (
        f"{_users(left)} left; {_unknown(pod)}" if left else f"{_users(left)} left, and nobody has told of the pod yet"
    )


def _users(count: int) -> str:
    return f"{count:,} {'user' if count == 1 else 'users'}"


def _told(left: int, view: PodView, *, asked: bool, late: bool) -> str:
    """How far it is, and why it does not go on; ``late``: the operator has had the time to answer."""
    users = f"{_users(left)} left, {view.effective}"
    if view.record is not None and view.record.reason is not Reason.READY:
        return f"{users} ({view.record.reason})"
    if not left or not late:
        return users
    if view.effective is RoutingState.READY:
        return f"{users}: nobody has asked it to drain, as far as the operator knows"
    return f"{users}: no operator has answered yet, which would move them" if asked else users


async def _session(store: Store, pod: Pod, deadline_seconds: float, say: Say) -> int:
    hook = Hook(pod, deadline_seconds, _say)
    try:
        left = await wait_drained(store, pod, deadline_seconds, say, hook)
    finally:
        await hear([store.close], lambda done: 0 if done else CLOSE_SECONDS)
    if left == 0:
        if not hook.knows:
            _say(f"{_unknown(pod)} Nothing to wait for")
        return DONE
    what = "the store does not answer" if left is None else f"{left:,} users are left"
    _say(f"{pod.name}: {what} after {deadline_seconds:g} s")
    return NOT_EMPTY


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stateful-route wait-drained",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--pod", metavar="NAME", help="the pod's name, or its index with --service; default: POD_NAME")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="default: STATEFUL_ROUTE_NAMESPACE, POD_NAMESPACE")
    parser.add_argument("--service", metavar="NAME", help="default: STATEFUL_ROUTE_SERVICE, else the pod's StatefulSet")
    parser.add_argument(
        "--deadline-seconds", metavar="S", type=float, default=300.0, help="wait no longer; default: 300"
    )
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        default=os.environ.get("STATEFUL_ROUTE_REDIS_URL"),
        help="the store; default: STATEFUL_ROUTE_REDIS_URL, where a password belongs",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but what has failed")
    return parser


def _environment(options: argparse.Namespace, environment: Mapping[str, str]) -> Mapping[str, str]:
    """What the Downward API says, with what the options say over it; the pod's uid need not be known."""
    told = {**environment, UID: environment.get(UID) or "any"}
    if options.namespace:
        told[NAMESPACE[0]] = options.namespace
    if options.service:
        told[SERVICE] = options.service
    if options.pod:
        told[INDEX] = options.pod if options.pod.isdigit() else ""
        told[NAME] = "" if options.pod.isdigit() else options.pod
    return told


def _say(text: str) -> None:
    sys.stderr.write(f"stateful-route wait-drained: {text}\n")
    sys.stderr.flush()
