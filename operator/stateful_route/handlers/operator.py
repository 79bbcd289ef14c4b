"""The operator: kopf watches, the handlers hand over what it sees, the reconcilers do the work."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

import kopf

from stateful_route import __version__
from stateful_route.domain.leadership import Rhythm
from stateful_route.handlers.health import Health, Readiness
from stateful_route.handlers.metrics import metrics_site
from stateful_route.handlers.transport import Backoffs, Transport
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.membership import POD_NAME_LABEL
from stateful_route.kube.objects import GROUP, PLURAL, cluster_id
from stateful_route.metrics.operator import OperatorMetrics
from stateful_route.reconcile.claims import Claims
from stateful_route.reconcile.definition import Definition
from stateful_route.reconcile.departure import leave_with_namespace
from stateful_route.reconcile.environment import Environment, Timing
from stateful_route.reconcile.grants import GRANT, Watches
from stateful_route.reconcile.leadership import Leadership
from stateful_route.reconcile.listings import Listings
from stateful_route.reconcile.revisions import Revisions
from stateful_route.reconcile.routes import Routes
from stateful_route.reconcile.stores import Stores
from stateful_route.reconcile.watchdog import Watchdog

log = logging.getLogger(__name__)

LEAVE_SECONDS = 2.0
"""Of these at most, to see whether our own namespace is being deleted, and to let go of what is in it."""

REGISTRY = kopf.OperatorRegistry()

SIGNALS = (signal.SIGTERM, signal.SIGINT)

STOP_SECONDS = 4.0
"""From SIGTERM to the end at the latest; it takes some 0.3 s unless a server does not answer."""


@dataclass(frozen=True, slots=True)
class Election:
    """How the leader is elected.

    Attributes:
        namespace: That of the Lease.
        lease: Its name.
        identity: Who this process is; unique among those that run.
        seconds: How long the Lease lasts.
    """

    namespace: str
    lease: str
    identity: str
    seconds: int = 15


@dataclass(frozen=True, slots=True)
class Options:
    """How the operator is started.

    Attributes:
        redis_url: The store of StatefulRoutes that name none; None: each must name its own.
        namespaces: Those it serves; empty: all.
        kubeconfig: A path; None: as kubectl finds it, or the pod's ServiceAccount.
        health_port: Where /healthz and /readyz are served; 0: nowhere.
        metrics_port: Where /metrics is served; 0: nowhere.
        timing: How often it looks again.
        election: How the leader is elected; None: this process leads, whoever else runs.
        release: Which one of several in a cluster this is, ``<its own namespace>/<name>``; empty: it claims no
            namespace, and leaves those alone that others have claimed.
        claim_seconds: How long the others wait when it is not heard of.
    """

    redis_url: str | None = None
    namespaces: Collection[str] = ()
    kubeconfig: str | None = None
    health_port: int = 8080
    metrics_port: int = 9090
    timing: Timing = field(default_factory=Timing)
    election: Election | None = None
    release: str = ""
    claim_seconds: int = 90


@dataclass(slots=True)
class App:
    """What the handlers share: kopf passes it to each as ``memo``.

    ``routes``: those of the present term; None while another process leads, whose events are dropped here.
    ``waiting``: why nothing can be served; None: it can.
    """

    options: Options
    kube: Kube
    watchdog: Watchdog
    leadership: Leadership | None = None
    routes: Routes | None = None
    serving: asyncio.Task[None] | None = None
    waiting: str | None = "the API server has not answered yet"
    revisions: Revisions = field(default_factory=Revisions)
    transport: Transport = field(init=False)
    metrics: OperatorMetrics = field(init=False)

    def __post_init__(self) -> None:
        self.transport = Transport(self.kube)
        self.metrics = OperatorMetrics(
            __version__,
            lambda: () if self.routes is None else self.routes.readings(),
            lambda: self.leadership is None or self.leadership.leading,
        )

    def problem(self) -> str | None:
        """Why this process should be started anew, or None."""
        if self.serving is not None and self.serving.done():
            return "the task that serves the StatefulRoutes has ended"
        return self.watchdog.overdue() or (self.leadership.overdue() if self.leadership else None)

    def readiness(self) -> Readiness:
        """Whether this process does its part, or could."""
        if (why := self.kube.problem) is not None:
            return Readiness(ready=False, text=why)
        if self.leadership is not None and not self.leadership.leading:
            if (why := self.leadership.problem) is not None:
                return Readiness(ready=False, text=why)
            return Readiness(ready=True, text=f"standing by: {self.leadership.leader or 'nobody'} leads")
        if self.routes is None or not self.routes.synced:
            why = self.waiting or (self.routes.problem if self.routes is not None else None)
            return Readiness(ready=False, text=why or "not all StatefulRoutes have been looked at")
        return Readiness(ready=not self.routes.cut_off, text=self.routes.problem or "ok")


async def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT; end at once where that takes longer than `STOP_SECONDS`.

    Raises:
        KubeError: there is no configuration for an API server.
        PortTaken: the health port is taken, or that of the metrics.
    """
    _heed_signals()
    try:
        await _run(options)
    except asyncio.CancelledError:
        pass  # a signal has come
    finally:
        _heed_nothing()


async def _run(options: Options) -> None:
    kube = await Kube.connect(options.kubeconfig)
    app = App(options, kube, Watchdog(asyncio.get_running_loop().time, options.timing.watch_seconds))
    if (election := options.election) is not None:
        rhythm = Rhythm(election.seconds)
        app.leadership = Leadership(kube, election.namespace, election.lease, rhythm, election.identity)
    health, metrics = Health(app.problem, app.readiness).site, metrics_site(app.metrics.page)
    before = asyncio.all_tasks()
    gc.freeze()  # what has been imported stays: a LIST of 1,000 pods is parsed in half the time
    try:
        await health.start(options.health_port)
        await metrics.start(options.metrics_port)
        tasks = await kopf.spawn_tasks(
            registry=REGISTRY,
            settings=kopf.OperatorSettings(),
            memo=app,
            # Left to itself kopf asks for the user's name, and in a container the user has none.
            identity=cast(Any, "stateful-route"),
            standalone=True,
            clusterwide=not options.namespaces,
            namespaces=list(options.namespaces),
        )
        _heed_signals()  # instead of kopf's own handlers, which trip over a second signal
        await kopf.run_tasks(tasks, ignored=before)
    finally:
        await health.stop()
        await metrics.stop()
        await _leave(app)
        await kube.close()


async def _leave(app: App) -> None:
    """Where our own namespace is being deleted, let its StatefulRoutes go; who serves them has ended before."""
    served, release = app.options.namespaces, app.options.release
    home = release.partition("/")[0]
    if not home or (served and home not in served):
        return
    with contextlib.suppress(KubeError, TimeoutError):
        async with asyncio.timeout(LEAVE_SECONDS):
            for route in await leave_with_namespace(app.kube, home, release):
                name = route["metadata"]["name"]
                log.warning("finalizer released: our namespace is being deleted", extra={"route": name})


def _heed_signals() -> None:
    """Cancel this task on SIGTERM or SIGINT.

    Not by kopf's stop flag: it waits 5 s for tasks left over (a watch cancelled between two events leaves its
    "pause-waiter"); cancelled, it cancels them at once.
    """
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()
    assert serving is not None  # noqa: S101  called by a coroutine

    def begin() -> None:
        if not serving.cancelling():
            serving.cancel()
            loop.call_later(STOP_SECONDS, _end_at_once)

    for number in SIGNALS:
        loop.add_signal_handler(number, begin)


def _heed_nothing() -> None:
    """Let the rest of the process end, whatever comes: our work is over.

    What is left is kopf's: the loop closes watches that were cancelled between two events, in no certain order, and
    complains; and a further signal, which asyncio would let kill the process again, would spoil its exit code.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, left: log.debug(left["message"], exc_info=left.get("exception")))
    for number in SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _end_at_once() -> None:
    """Exit without the rest of the clean-up: nothing is kept in memory only, so that nothing is lost."""
    left = sorted(task.get_name() for task in asyncio.all_tasks())
    log.error("not stopped in time; ending at once", extra={"seconds": STOP_SECONDS, "tasks": left})
    logging.shutdown()
    os._exit(1)


@kopf.on.startup(registry=REGISTRY)
async def on_startup(settings: kopf.OperatorSettings, memo: Any, **_: object) -> None:
    """Set kopf up as a transport that writes nothing itself, and start the reconcilers.

    There are event handlers only: for those kopf adds no finalizer and no annotation, so that the kopf of a process
    which stands by writes nothing either.
    """
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.watching.inactivity_timeout = 70
    settings.watching.label_selectors["", "v1", "pods"] = POD_NAME_LABEL
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = Backoffs()
    settings.execution.default_backoff = 2
    settings.queueing.exit_timeout = 0.5
    settings.queueing.idle_timeout = 1  # in Python 3.11 a worker may miss its cancellation, and ends only when idle
    app: App = memo
    app.serving = asyncio.create_task(_serve(app), name="serve the StatefulRoutes")


async def _serve(app: App) -> None:
    while True:
        try:
            cluster = await cluster_id(app.kube)
            break
        except KubeError as error:
            advice = {"advice": GRANT} if error.forbidden else {}
            if not error.forbidden or app.waiting != str(error):
                log.warning("waiting for the API server", extra={"error": str(error), **advice})
            app.waiting = str(error)
            await asyncio.sleep(1)
    app.waiting = None
    if app.leadership is None:
        await _lead(app, cluster)
    else:
        await app.leadership.run(lambda: _lead(app, cluster))


async def _lead(app: App, cluster: str) -> None:
    """Serve the StatefulRoutes until cancelled; nothing of it is left for the next term."""
    while True:
        await _serve_routes(app, cluster)
        log.warning("the API server's data are older than they were, as after a restore of etcd: all is read anew")
        app.transport.begin_anew()
        app.revisions.forget()


async def _serve_routes(app: App, cluster: str) -> None:
    """Serve them until cancelled, or until what is known of the API server is worth nothing any more."""
    elected = app.leadership
    stores = Stores(app.options.redis_url, elected.tenure if elected else None, app.metrics)
    kube = elected.guarded() if elected else app.kube
    claims = Claims(kube, app.options.release, app.options.claim_seconds)
    watches = Watches(app.watchdog)
    timing, metrics = app.options.timing, app.metrics
    listings = Listings(kube, everywhere=not app.options.namespaces)
    env = Environment(
        kube, stores, cluster, app.watchdog, timing, claims, Definition(), watches, app.revisions, listings, metrics
    )
    app.routes = Routes(env, app.options.namespaces)
    try:
        await app.routes.run()
    finally:
        app.routes = None
        app.watchdog.clear()
        await listings.close()
        await stores.close()


@kopf.on.cleanup(registry=REGISTRY)
async def on_cleanup(memo: Any, **_: object) -> None:
    """Stop what was started, in the reverse order."""
    app: App = memo
    if app.serving is not None:
        app.serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await app.serving


@kopf.on.login(registry=REGISTRY)
async def on_login(memo: Any, **_: object) -> kopf.AiohttpSession:
    """Let kopf reach the API server by our own client, which knows its address, too."""
    return kopf.AiohttpSession(server="", aiohttp_session=cast(Any, memo.transport))


@kopf.on.event(GROUP, PLURAL, registry=REGISTRY)
async def on_route(event: kopf.RawEvent, memo: Any, **_: object) -> None:
    """Hand a StatefulRoute to its reconciler."""
    if memo.routes is not None:
        memo.routes.observe_route(event["object"], deleted=event["type"] == "DELETED")


@kopf.on.event("apps", "statefulsets", registry=REGISTRY)
async def on_workload(event: kopf.RawEvent, memo: Any, **_: object) -> None:
    """Hand a StatefulSet to the reconcilers that route it."""
    if memo.routes is not None:
        memo.routes.observe_workload(event["object"], deleted=event["type"] == "DELETED")


@kopf.on.event("", "v1", "pods", registry=REGISTRY)
async def on_pod(event: kopf.RawEvent, memo: Any, **_: object) -> None:
    """Hand a pod's new facts to the reconcilers of its StatefulSet; pods that nobody routes are dropped at once."""
    memo.revisions.seen(int(event["object"]["metadata"]["resourceVersion"]))  # kopf's watch goes on from there
    if memo.routes is not None:
        memo.routes.observe_pod(event["object"], deleted=event["type"] == "DELETED")
