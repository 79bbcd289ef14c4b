"""Which namespaces this release of the operator serves, where others are set to serve them, too: in the status of each.

What is claimed stands in ``status.operator``, who waits in ``status.contenders``. It takes no right but that to write
the status.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stateful_route.api.model import rfc3339
from stateful_route.domain.claims import Age, Claim, holder, still_held
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.kube.client import Kube, KubeError, NotLeading
from stateful_route.kube.objects import patch_status

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
RENEWALS = 3
"""So many in the time after which others take over."""
AT_ONCE = 8
"""Renewals under way."""


class LeftAlone(StatefulRouteError):  # noqa: N818  names the fact
    """Another release of the operator serves this StatefulRoute.

    Attributes:
        operator: Its name.
    """

    def __init__(self, operator: str) -> None:
        super().__init__(f"left to the operator {operator!r}")
        self.operator = operator


@dataclass(frozen=True, slots=True)
class _Route:
    namespace: str
    name: str
    age: Age
    version: int
    operator: str = ""
    renewed: str = ""
    seconds: int = 0
    contenders: Mapping[str, str] = field(default_factory=dict)


class Claims:
    """Of one release, ``me``: ``<namespace>/<name>``; empty: it claims nothing, and leaves alone what others serve.

    ``seconds``: how long the others wait when its claims are not renewed.
    """

    def __init__(self, kube: Kube, me: str, seconds: int) -> None:
        self._kube, self.me, self._seconds = kube, me, seconds
        self.changed: Callable[[str], None] = lambda _namespace: None
        """Is called with a namespace which is served by another from now on, or for which others are set now."""
        self.refused: str | None = None
        """Why nothing can be claimed; None: it can."""
        self._routes: defaultdict[str, dict[str, _Route]] = defaultdict(dict)
        self._oldest_of: defaultdict[str, dict[str, Age]] = defaultdict(dict)
        """Namespace → release → the oldest StatefulRoute on which its claim stands: asked for again and again."""
        self._contended: defaultdict[str, dict[str, _Route]] = defaultdict(dict)
        """Namespace → uid → a StatefulRoute on which somebody says that it waits."""
        self._namespaces: dict[str, str] = {}
        """uid of a StatefulRoute → its namespace."""
        self._heard: dict[tuple[str, str, str], tuple[float, int]] = {}
        """(namespace, what it wrote, release) → when that was last seen to change, and how many seconds it counts."""
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {}
        """namespace → holder and contenders, as they were last told."""
        self._due: defaultdict[str, float] = defaultdict(float)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._without_until = 0.0
        """Nothing could be claimed: until then it is not tried again, and all is served all the same."""

    # What others tell it, and ask

    def observe(self, body: Mapping[str, Any]) -> None:
        """A StatefulRoute as the API server has it."""
        self.observe_all([body])

    def observe_all(self, bodies: Iterable[Mapping[str, Any]]) -> None:
        """StatefulRoutes as the API server has them; what follows is told once of each namespace."""
        for namespace in {namespace for body in bodies if (namespace := self._see(body)) is not None}:
            self._compare(namespace)

    def _see(self, body: Mapping[str, Any]) -> str | None:
        """Its namespace; None: it was known already."""
        meta, uid = body["metadata"], body["metadata"]["uid"]
        routes, version = self._routes[meta["namespace"]], int(meta["resourceVersion"])
        known = routes.get(uid)
        if known is not None and known.version >= version:
            return None
        seen = routes[uid] = _route(body, version)
        self._index(seen.namespace, uid, known, seen)
        self._namespaces[uid] = seen.namespace
        if known is None or (known.operator, known.renewed) != (seen.operator, seen.renewed):
            self._heard[seen.namespace, "operator", seen.operator] = (time.monotonic(), seen.seconds)
        for name, renewed in seen.contenders.items():
            if known is None or known.contenders.get(name) != renewed:
                self._heard[seen.namespace, "contender", name] = (time.monotonic(), self._seconds)
        return seen.namespace

    def forget(self, uid: str) -> None:
        """The StatefulRoute is gone."""
        namespace = self._namespaces.pop(uid, None)
        if namespace is not None:
            if (gone := self._routes[namespace].pop(uid, None)) is not None:
                self._index(namespace, uid, gone, None)
            self._compare(namespace)

    def _index(self, namespace: str, uid: str, former: _Route | None, now: _Route | None) -> None:
        """Keep up what is asked for often; `_routes` has what is so ``now`` already."""
        oldest, contended = self._oldest_of[namespace], self._contended[namespace]
        if former is not None and former.operator and (now is None or now.operator != former.operator):
            ages = [route.age for route in self._routes[namespace].values() if route.operator == former.operator]
            oldest.pop(former.operator)
            if ages:
                oldest[former.operator] = min(ages)
        if now is not None and now.operator:
            oldest[now.operator] = min(now.age, oldest.get(now.operator, now.age))
        contended.pop(uid, None)
        if now is not None and now.contenders:
            contended[uid] = now

    def holder(self, namespace: str) -> str:
        """The release that serves the namespace; empty: nobody, as far as is known."""
        claims = [
            Claim(age, operator, self._lives(namespace, "operator", operator))
            for operator, age in self._oldest_of[namespace].items()
        ]
        return holder(claims, self.me)

    def leaves(self, namespace: str) -> bool:
        """True when another release serves the namespace."""
        return self.holder(namespace) not in {"", self.me}

    def contenders(self, namespace: str) -> tuple[str, ...]:
        """The other releases that are set to serve the namespace, and leave it alone."""
        waiting = self._contended[namespace].values()
        names = {name for route in waiting for name in route.contenders if name != self.me}
        return tuple(sorted(name for name in names if self._lives(namespace, "contender", name)))

    async def take(self, uid: str) -> str | None:
        """Claim a StatefulRoute before anything is done with it; the latest resource version that is known, if any.

        Raises:
            LeftAlone: another release serves it.
            KubeError: ``conflict`` when somebody has changed it; else see there.
        """
        namespace = self._namespaces.get(uid)
        if namespace is None:
            return None
        held = self.holder(namespace)
        if held not in {"", self.me}:
            raise LeftAlone(held)
        try:
            if self.me and time.monotonic() >= self._without_until:
                await self._take(namespace, uid)
        except KubeError as error:
            if not error.forbidden:
                raise
            self._refuse(error)
        route = self._routes[namespace].get(uid)
        return str(route.version) if route is not None else None

    async def _take(self, namespace: str, uid: str) -> None:
        if not self.holder(namespace):
            async with self._locks[namespace]:
                if not self.holder(namespace) and time.monotonic() >= self._without_until:
                    await self._claim(self._oldest(namespace))
        route = self._routes[namespace].get(uid)
        if route is None or route.operator == self.me or time.monotonic() < self._without_until:
            return
        if still_held(self._claim_on(route), self.me):
            raise LeftAlone(route.operator)
        await self._claim(route)

    # Its task

    async def run(self) -> None:
        """Renew what is claimed, say where it waits, and notice who is silent, until cancelled."""
        while True:
            now = time.monotonic()
            for namespace in list(self._routes):
                self._compare(namespace)
            if self.me:
                due = [name for name, routes in self._routes.items() if routes and now >= self._due[name]]
                limit = asyncio.Semaphore(AT_ONCE)
                await asyncio.gather(*(self._keep(name, limit) for name in due))
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds / 10))

    async def _keep(self, namespace: str, limit: asyncio.Semaphore) -> None:
        """Renew the claim on a namespace, or say that it waits for it."""
        held = self.holder(namespace)
        try:
            async with limit:
                if held == self.me:
                    await self._claim(self._oldest(namespace))
                    await self._tidy(namespace)
                elif held:
                    await self._wait_for(namespace)
            self._due[namespace] = time.monotonic() + self._seconds / RENEWALS
        except NotLeading:
            pass  # it may pass
        except KubeError as error:
            if error.forbidden:
                self._refuse(error)
                self._due[namespace] = time.monotonic() + self._seconds / RENEWALS
            elif not (error.conflict or error.not_found):  # the watch tells soon of what has happened
                log.warning("claim not renewed", extra={"namespace": namespace, "error": str(error)})
        except Exception:
            log.exception("claim not renewed", extra={"namespace": namespace})

    async def _claim(self, route: _Route) -> None:
        """Write that this release serves it, unless somebody has written something there meanwhile."""
        claim = {"name": self.me, "renewTime": rfc3339(self._now()), "seconds": self._seconds}
        status: dict[str, Any] = {"operator": claim}
        if self.me in route.contenders:
            status["contenders"] = {self.me: None}
        body = await patch_status(self._kube, route.namespace, route.name, status, str(route.version))
        self.refused = None
        if not (body.get("status") or {}).get("operator"):  # an older CRD does not keep it
            self._without_until = time.monotonic() + self._seconds / RENEWALS
        self.observe(body)

    def _now(self) -> datetime:
        """By the API server's clock, as who departs takes it; others count from when they see another time."""
        return self._kube.clock.now() or datetime.now(UTC)

    async def _wait_for(self, namespace: str) -> None:
        route = self._oldest(namespace)
        mine = {self.me: {"renewTime": rfc3339(self._now())}}
        self.observe(await patch_status(self._kube, namespace, route.name, {"contenders": mine}))
        for other in [r for r in self._routes[namespace].values() if r.operator == self.me]:
            gone = {"operator": None}  # of a time when both began at once: the holder takes it, too
            self.observe(await patch_status(self._kube, namespace, other.name, gone, str(other.version)))

    async def _tidy(self, namespace: str) -> None:
        """Strike out those who do not wait any more."""
        for route in list(self._contended[namespace].values()):
            silent = [n for n in route.contenders if n == self.me or not self._lives(namespace, "contender", n)]
            if silent:
                gone = {"contenders": dict.fromkeys(silent)}
                self.observe(await patch_status(self._kube, namespace, route.name, gone, str(route.version)))

    def _refuse(self, error: KubeError) -> None:
        if self.refused is None:
            advice = "grant the operator's ServiceAccount patch on statefulroutes/status"
            log.warning("status refused", extra={"error": str(error), "advice": advice})
        self.refused = str(error)
        self._without_until = time.monotonic() + self._seconds / RENEWALS

    def _compare(self, namespace: str) -> None:
        """Tell of another holder, or others that wait."""
        held, waiting = self.holder(namespace), self.contenders(namespace)
        former, _ = known = self._known.get(namespace, ("", ()))
        if known == (held, waiting):
            return
        self._known[namespace] = (held, waiting)
        if held not in {former, "", self.me}:
            facts = {"namespace": namespace, "operator": held, "waits_seconds": self._waits(namespace, held)}
            log.warning("namespace left to another operator", extra={**facts, "advice": divide(self.me, namespace)})
            self._due[namespace] = 0.0
        elif former not in {"", self.me} and held != former:
            facts = {"namespace": namespace, "operator": former, "why": "it is not heard of any more"}
            log.warning("namespace no longer left to another operator", extra=facts)
        self.changed(namespace)

    def _oldest(self, namespace: str) -> _Route:
        return min(self._routes[namespace].values(), key=_age)

    def _claim_on(self, route: _Route) -> Claim:
        alive = self._lives(route.namespace, "operator", route.operator)
        return Claim(route.age, route.operator, alive)

    def _lives(self, namespace: str, kind: str, name: str) -> bool:
        at, seconds = self._heard.get((namespace, kind, name), (0.0, 0))
        return bool(seconds) and time.monotonic() < at + seconds

    def _waits(self, namespace: str, name: str) -> int:
        return self._heard[namespace, "operator", name][1]


def divide(me: str, namespace: str) -> str:
    """What to do about two that are set to serve one namespace."""
    return (
        f"two releases of the operator are set to serve namespace {namespace!r}"
        f"{f', this one is {me}' if me else ''}: uninstall one of them, or divide the namespaces by the chart's "
        "watchNamespaces (STATEFUL_ROUTE_NAMESPACES)"
    )


def _age(route: _Route) -> Age:
    return route.age


def _route(body: Mapping[str, Any], version: int) -> _Route:
    """What matters here of a StatefulRoute; a status that does not fit claims nothing."""
    meta, status = body["metadata"], body.get("status") or {}
    made = datetime.fromisoformat(meta["creationTimestamp"]).timestamp()
    route = _Route(meta["namespace"], meta["name"], (made, meta["uid"]), version)
    try:
        contenders = {str(name): str(one["renewTime"]) for name, one in (status.get("contenders") or {}).items()}
        claim = status.get("operator") or {"name": "", "renewTime": "", "seconds": 0}
        name, renewed, seconds = str(claim["name"]), str(claim["renewTime"]), int(claim["seconds"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return route
    return _Route(route.namespace, route.name, route.age, version, name, renewed, seconds, contenders)
