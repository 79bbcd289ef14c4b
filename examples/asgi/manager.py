"""What the operator does on Kubernetes: looks after the pods, and moves the users of those that have failed."""

import asyncio
import os

from stateful_route import CacheOptions, ClientOptions, ManagerOptions, RouteOptions, StatefulRoute
from stateful_route.domain.health import Health
from stateful_route.router.health import HealthOptions
from stateful_route.router.probes import HttpProbe
from stateful_route.store.keys import Service

NAMESPACE, SERVICE = "default", "rooms"


async def main() -> None:
    """Until the process is ended."""

    async def address(namespace: str, service: str, pod: int) -> str:
        return await route.client.address(namespace, service, pod)

    async def judged(service: Service, pod: int, health: Health) -> None:
        if health.healthy:
            await route.manager.recover_pod(service.namespace, service.name, pod)
        else:
            await route.manager.handle_pod_failure(service.namespace, service.name, pod, health.why)

    options = RouteOptions(
        cache=CacheOptions(refresh_seconds=float(os.environ.get("REFRESH_SECONDS", "5"))),
        client=ClientOptions(address=os.environ.get("POD_ADDRESS", "{pod}.{service}.{namespace}.svc:8000")),
        manager=ManagerOptions(
            probe=HttpProbe(path="/healthz"),
            address=address,
            health=HealthOptions(period_seconds=0.5, timeout_seconds=2.0, failures_allowed=1),
        ),
    )
    async with StatefulRoute.connect(os.environ["STATEFUL_ROUTE_REDIS_URL"], options) as route:
        route.manager.checker.on_changed(judged)
        await route.manager.checker.start(NAMESPACE, SERVICE)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
