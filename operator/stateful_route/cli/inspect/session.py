"""One command's session: the API server, the StatefulRoutes that it has, and the store that each of them names."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import typer

from stateful_route.api.statefulroute import InvalidResource, StatefulRoute
from stateful_route.cli.answers import FAILED, INTERRUPTED, USAGE, advised, fail, notes
from stateful_route.cli.inspect.options import Access
from stateful_route.cli.inspect.reach import forwarding, of_the_operator
from stateful_route.domain.errors import InvalidArgument, StatefulRouteError, StoreUnavailable
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadFacts
from stateful_route.kube.client import Kube, KubeError, default_namespace
from stateful_route.kube.membership import workload_names
from stateful_route.kube.objects import SecretLacking, list_routes, read_secret
from stateful_route.kube.pods import list_pods
from stateful_route.kube.workloads import UnsupportedWorkload, get_workload
from stateful_route.reconcile.roster import Aside, Criteria, classify
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.layout import check_layout
from stateful_route.store.urls import reads_login

T = TypeVar("T")


class NotThere(StatefulRouteError):  # noqa: N818  names the fact
    """There is no such service, pod or kind of object; the message says what there is."""


class OutOfReach(StoreUnavailable):
    """The store that a StatefulRoute names does not answer from here; the message says how to get there."""


class Session:
    """What a command works with; connects when it is asked for something."""

    def __init__(self, access: Access, kube: Kube, namespace: str) -> None:
        self.access, self.kube, self.namespace = access, kube, namespace
        self._stores: dict[str, Store] = {}
        self.unfit: dict[str, InvalidResource] = {}
        """StatefulRoutes that are left out, since they do not fit these commands: name → why."""

    @classmethod
    async def open(cls, access: Access) -> "Session":
        """Find the API server and the namespace.

        Raises:
            KubeError: no way to reach an API server.
        """
        namespace = access.namespace or default_namespace(access.kubeconfig, access.context)
        return cls(access, await Kube.connect(access.kubeconfig, access.context), namespace)

    async def close(self) -> None:
        """Close all connections."""
        for store in self._stores.values():
            await store.close()
        await self.kube.close()

    async def routes(self) -> list[StatefulRoute]:
        """The StatefulRoutes of the namespace by name; those that do not fit are told on stderr once, and left out.

        Raises:
            NotThere: the cluster has no such resource.
            KubeError: see there.
        """
        found = []
        for body in await self._bodies():
            try:
                found.append(StatefulRoute.parse(body))
            except InvalidResource as error:
                name = body["metadata"]["name"]
                if name not in self.unfit:
                    notes().print(str(error), markup=False, style="yellow")
                self.unfit[name] = error
        return sorted(found, key=lambda route: route.metadata.name)

    async def routes_everywhere(self) -> list[StatefulRoute]:
        """Those of all namespaces that fit; of this namespace alone where the others cannot be listed."""
        try:
            bodies = await list_routes(self.kube, None)
        except KubeError:
            return await self.routes()
        found = []
        for body in bodies:
            with suppress(InvalidResource):  # that of this namespace has been told
                found.append(StatefulRoute.parse(body))
        return found

    async def route(self, service: str) -> StatefulRoute:
        """The StatefulRoute of that name, or that serves the service of that name.

        Raises:
            NotThere: there is none; the message lists those that exist.
        """
        routes = await self.routes()
        found = [route for route in routes if route.metadata.name == service]
        found += [route for route in routes if route.service_name == service]
        if found:
            return found[0]
        there = ", ".join(route.metadata.name for route in routes)
        hint = f"there are: {there}" if there else "it has none at all; is it the right one? -n NAME takes another"
        raise NotThere(f"no StatefulRoute {service!r} in namespace {self.namespace!r}: {hint}")

    async def pod(self, name: str) -> tuple[StatefulRoute, PodFacts]:
        """The pod of that name, and the StatefulRoute that routes it.

        Raises:
            NotThere: no such pod, or nobody routes it.
        """
        name = name.removeprefix("pod/").removeprefix("pods/")
        try:
            body = await self.kube.get_quickly(f"/api/v1/namespaces/{self.namespace}/pods/{name}")
        except KubeError as error:
            if not error.not_found:
                raise
            raise NotThere(f"there is no pod {name!r} in namespace {self.namespace!r}") from None
        for route in await self.routes():
            pod = classify(body, Criteria(route.workload, route.spec.health.container))
            if isinstance(pod, PodFacts):
                return route, pod
        names = " or ".join(map(repr, sorted(workload_names(body))))
        of = f"its workload {names}" if names else "it belongs to no StatefulSet, and"
        raise NotThere(f"no StatefulRoute routes the pod {name!r}: {of} has none")

    async def workload(self, route: StatefulRoute) -> tuple[WorkloadFacts | None, dict[int, PodFacts]]:
        """The workload, None: there is none; and its pods, the successor where an index has two."""
        facts, pods, _ = await self.roster(route)
        return facts, pods

    async def roster(self, route: StatefulRoute) -> tuple[WorkloadFacts | None, dict[int, PodFacts], list[Aside]]:
        """The same, and the pods that have one of the workload's names and are not routed."""
        ref, namespace = route.workload, route.metadata.namespace
        facts: WorkloadFacts | None = None
        with suppress(UnsupportedWorkload):  # its condition says so, and the doctor does
            facts = await get_workload(self.kube, namespace, ref)
        bodies, _ = await list_pods(self.kube, namespace, Selector())
        criteria = Criteria(ref, route.spec.health.container).of(facts)
        found = [pod for body in bodies if (pod := classify(body, criteria)) is not None]
        pods = [pod for pod in found if isinstance(pod, PodFacts)]
        by_index = {pod.ordinal: pod for pod in sorted(pods, key=lambda pod: pod.resource_version)}
        return facts, by_index, [pod for pod in found if isinstance(pod, Aside)]

    async def store(self, route: StatefulRoute) -> Store:
        """The store of a StatefulRoute, which has answered.

        Raises:
            OutOfReach: it does not answer from here.
            NotThere: nobody says where it is.
            StatefulRouteError: as a store's first call.
        """
        url = self.access.redis_url or _without_files(await self._url(route), route.metadata.name)
        if url not in self._stores:
            store = Store.from_url(url)
            self._stores[url] = store
            try:
                await check_layout(store, stamp=False)
            except StoreUnavailable as error:
                if self.access.redis_url or not (hint := forwarding(url, route.metadata.namespace)):
                    raise
                whose = f"the store of StatefulRoute {route.metadata.name!r} does not answer from here"
                raise OutOfReach(f"{whose}: {error}\n{hint}", maybe_written=False) from error
        return self._stores[url]

    def service(self, route: StatefulRoute) -> Service:
        """Its keys."""
        return Service(route.metadata.namespace, route.service_name)

    async def _url(self, route: StatefulRoute) -> str:
        redis, name = route.spec.redis, route.metadata.name
        if redis.url:
            return redis.url
        if (secret := redis.url_secret_ref) is None:
            raise NotThere(
                f"StatefulRoute {name!r} names no store, it uses the operator's: give --redis-url or "
                "STATEFUL_ROUTE_REDIS_URL, or look from the operator's pod.\n"
                f"{of_the_operator(route.metadata.namespace)}"
            )
        try:
            return await read_secret(self.kube, route.metadata.namespace, secret.name, secret.key)
        except SecretLacking as error:
            raise NotThere(f"{error}: create it with the store's URL, or give --redis-url") from error
        except KubeError as error:
            if not error.forbidden:
                raise
            raise NotThere(
                f"the store's URL is in Secret {secret.name!r}, which you may not read: give --redis-url ({error})"
            ) from error

    async def _bodies(self) -> list[Mapping[str, Any]]:
        try:
            return await list_routes(self.kube, self.namespace)
        except KubeError as error:
            if not error.not_found:
                raise
            raise NotThere(
                "the cluster does not know StatefulRoutes: install the CRD (kubectl apply -f crds/, or the chart)"
            ) from None


def _without_files(url: str, name: str) -> str:
    """The URL of a StatefulRoute, which may not have files of this machine sent to a server that it names.

    Raises:
        NotThere: it names some for a login.
    """
    if reads_login(url):
        raise NotThere(f"the URL of StatefulRoute {name!r} reads its login from files here: give --redis-url")
    return url


def run(access: Access, work: Callable[[Session], Awaitable[T]]) -> T:
    """Open a session, do the work, close it; ends the process with a message when that fails."""

    async def session() -> T:
        opened = await Session.open(access)
        try:
            return await work(opened)
        finally:
            with suppress(StatefulRouteError):
                await opened.close()

    try:
        return asyncio.run(session())
    except InvalidArgument as error:
        fail(str(error), USAGE)
    except OutOfReach as error:
        fail(str(error), FAILED)
    except KubeError as error:
        fail(_advised(error), FAILED)
    except StatefulRouteError as error:
        fail(advised(error), FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None  # the usual end of what goes on until Ctrl-C


def _advised(error: KubeError) -> str:
    if error.forbidden:
        return f"{error}\nyour Kubernetes user may not do that; stateful-route doctor lists what each command needs"
    if error.unauthorized:
        return f"{error}\nthe API server does not take the kubeconfig's credentials: log in again, as for kubectl"
    if error.status == 0:
        return f"{error}\nwithout Kubernetes there is stateful-route store, which needs the store alone"
    return str(error)
