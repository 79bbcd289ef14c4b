"""``wait-drained``, for the preStop hook of an application without the library; it needs redis alone."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stateful_route.domain.errors import InvalidArgument, StatefulRouteError, StoreUnavailable
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers.identity import INDEX, NAME, NAMESPACE, SERVICE, UID, Identity
from stateful_route.store.connection import Store
from stateful_route.store.index import links_of_pod
from stateful_route.store.keys import Service
from stateful_route.store.layout import check_layout
from stateful_route.store.states import get_service_pod

DONE, FAILED, USAGE, NOT_EMPTY = 0, 1, 2, 3

LOOK_SECONDS = 0.5
SHARE = 5
"""A look takes at most one part in so many of the time: on a large Cluster it is 16,384 calls."""

NOTICE_SECONDS = 3.0
"""An empty pod that still is READY: the operator may not have noticed yet that it is to stop, and users still come."""

REMIND_SECONDS = 10.0

Say = Callable[[str], None]

HELP = """\
Waits until no user is linked to this pod any more, e.g. as the preStop hook of an application that does not use the
library. It needs the store alone. The operator moves the users: when the pod is deleted, scaled away or asked to drain.
"""

EXAMPLES = """\
which pod this is comes from POD_NAME and POD_NAMESPACE, as the Downward API sets them, unless options say so.

exit codes:
  0  no user is linked to the pod
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
    """A pod index of a service, and what to call it."""

    service: Service
    ordinal: int
    name: str


def main(words: Sequence[str]) -> int:
    """Run the command with these arguments; its exit code."""
    parser = _parser()
    options = parser.parse_args(words)
    if not options.redis_url:
        parser.error("no store is given: use --redis-url or STATEFUL_ROUTE_REDIS_URL")
    if options.deadline_seconds <= 0:
        parser.error("--deadline-seconds must be more than 0")
    try:
        identity = Identity.from_environment(_environment(options, os.environ))
        store = Store.from_url(options.redis_url)
    except InvalidArgument as error:
        parser.error(str(error))
    name = os.environ.get(NAME) if options.pod is None else options.pod
    pod = Pod(identity.target, identity.ordinal, name or f"{identity.service}-{identity.ordinal}")
    say: Say = (lambda _: None) if options.quiet else _say
    try:
        return asyncio.run(_session(store, pod, options.deadline_seconds, say))
    except StatefulRouteError as error:
        _say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return 130


async def wait_drained(store: Store, pod: Pod, deadline_seconds: float, say: Say) -> int | None:
    """Wait until the pod's index is empty, and hear of the progress; how many links are left in the end.

    An empty pod that takes new users still is looked at for `NOTICE_SECONDS`: the operator may not have noticed yet.

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
            left, state = await _look(store, pod)
            text = f"{left:,} {'user' if left == 1 else 'users'} left, {state}"
            if left == 0 and (
                state != RoutingState.READY or looked_at - began >= min(NOTICE_SECONDS, deadline_seconds)
            ):
                say(f"{pod.name} is empty after {time.monotonic() - began:.1f} s")
                return 0
            if left and state == RoutingState.READY:
                text += ": nobody has asked it to drain, as far as the operator knows"
        except StoreUnavailable as error:
            left, text = None, f"{error}; trying again"
        now = time.monotonic()
        if text != said or now - said_at >= REMIND_SECONDS:
            say(f"{pod.name}: {text}")
            said, said_at = text, now
        if now >= end:
            return left
        await asyncio.sleep(min(max(LOOK_SECONDS, SHARE * (now - looked_at)), end - now))


async def _look(store: Store, pod: Pod) -> tuple[int, str]:
    """How many links the pod has, and its state with the reason for it."""
    await check_layout(store, stamp=False)
    view = await get_service_pod(store, pod.service, pod.ordinal)
    left = 0
    async for buckets in links_of_pod(store, pod.service, pod.ordinal):
        left += sum(len(bucket.uids) for bucket in buckets)
    reason = f" ({view.record.reason})" if view.record and view.effective != RoutingState.READY else ""
    return left, f"{view.effective}{reason}"


async def _session(store: Store, pod: Pod, deadline_seconds: float, say: Say) -> int:
    try:
        left = await wait_drained(store, pod, deadline_seconds, say)
    finally:
        await store.close()
    if left == 0:
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
    """What the Downward API says, with what the options say over it; the pod's uid does not matter here."""
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
