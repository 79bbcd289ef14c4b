"""The story that the demo tells: users are linked, a pod is deleted, one gets unready, the service is scaled down."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import yaml
from rich.console import Console
from rich.live import Live

from stateful_route.cli.demo.screen import clock, figures_table, is_live, plain_state, screen
from stateful_route.cli.demo.stage import Stage
from stateful_route.cli.demo.watching import Watcher
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.routing import RoutingState
from stateful_route.kube.client import Kube
from stateful_route.resources import shipped
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.links import set_link_call

NAMESPACE = "demo"
USERS = 1000
PODS = 5
PODS_AFTER = 3
PATIENCE_SECONDS = 60.0
SHOW_SECONDS = 1.5
"""How long an act's outcome stays on the screen before the next one begins."""


class UsersLost(StatefulRouteError):  # noqa: N818  names the fact
    """At the end of the story some users are not on live pods."""


class Story:
    """Plays the acts, one after the other; each is done when the watcher has seen its end."""

    def __init__(self, stage: Stage, kube: Kube, store: Store, watcher: Watcher) -> None:
        self._stage, self._kube, self._store, self._watcher = stage, kube, store, watcher
        self._service = Service(NAMESPACE, "rooms")

    async def play(self) -> None:
        """All acts.

        Raises:
            TimeoutError: an act did not come to its end.
            UsersLost: the final check failed.
        """
        self._act(f"{PODS} pods start")
        manifest = (shipped("examples") / "rooms.yaml").read_text(encoding="utf-8")
        for body in yaml.safe_load_all(manifest):
            await self._kube.create(_collection(body), body)
        await self._until_ready(range(PODS))
        self._act(f"{USERS:,} users are linked")
        users = [(f"user-{n}", n % PODS) for n in range(USERS)]
        await self._store.run_many([set_link_call(self._service, uid, pod) for uid, pod in users])
        await self._until(lambda: sum(self._watcher.view.links.values()) == USERS, "all users are linked")
        await asyncio.sleep(SHOW_SECONDS)
        await self._delete_a_pod(1)
        await self._make_unready(3)
        await self._scale_down()

    async def check(self) -> int:
        """How many users are on live pods, asked of their link keys one by one.

        Raises:
            UsersLost: not all of them.
        """
        await self._watcher.look()
        keys = [("GET", self._service.link(f"user-{n}")) for n in range(USERS)]
        alive = self._watcher.alive()
        good = sum(value is not None and int(value) in alive for value in await self._store.pipeline(keys))
        if good != USERS:
            raise UsersLost(f"only {good} of {USERS} users are on live pods")
        return good

    async def _delete_a_pod(self, ordinal: int) -> None:
        self._act(f"rooms-{ordinal} is deleted (kubectl delete pod)")
        await self._kube.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/rooms-{ordinal}")
        self._watcher.begin(f"rooms-{ordinal} deleted", (ordinal,))
        await self._until_off(ordinal)
        await self._until_ready(range(PODS))
        await asyncio.sleep(SHOW_SECONDS)

    async def _make_unready(self, ordinal: int) -> None:
        self._act(f"rooms-{ordinal} fails its readiness probe (failover.delaySeconds: 2)")
        await self._patch_ready(ordinal, ready=False)
        self._watcher.begin(f"rooms-{ordinal} not Ready", (ordinal,))
        await self._until_off(ordinal)
        await asyncio.sleep(SHOW_SECONDS)
        self._act(f"rooms-{ordinal} is Ready again: it takes new users")
        await self._patch_ready(ordinal, ready=True)
        await self._until_ready(range(PODS))
        await asyncio.sleep(SHOW_SECONDS)

    async def _scale_down(self) -> None:
        self._act(f"the StatefulSet is scaled from {PODS} to {PODS_AFTER}")
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/rooms"
        await self._kube.merge(path, {"spec": {"replicas": PODS_AFTER}})
        going = tuple(range(PODS_AFTER, PODS))
        self._watcher.begin(f"scaled from {PODS} to {PODS_AFTER}", going)
        await self._until_off(*going)
        shut = RoutingState.SHUTDOWN
        await self._until(
            lambda: all(self._watcher.view.pods[ordinal].effective is shut for ordinal in going), "both pods are gone"
        )
        await asyncio.sleep(SHOW_SECONDS)

    async def _patch_ready(self, ordinal: int, *, ready: bool) -> None:
        """What the kubelet writes after a readiness probe."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/rooms-{ordinal}"
        status = (await self._kube.get(path))["status"]
        conditions = [c for c in status["conditions"] if c["type"] != "Ready"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions.append({"type": "Ready", "status": str(ready), "lastTransitionTime": now})
        await self._kube.merge(f"{path}/status", {"status": {"conditions": conditions}})

    def _act(self, title: str) -> None:
        self._watcher.view.act = title
        self._watcher.say(f"— {title}")

    async def _until_ready(self, ordinals: range) -> None:
        pods = self._watcher.view

        def holds() -> bool:
            return all(o in pods.pods and pods.pods[o].effective is RoutingState.READY for o in ordinals)

        await self._until(holds, f"{len(ordinals)} pods are READY")

    async def _until_off(self, *ordinals: int) -> None:
        await self._until(
            lambda: not any(self._watcher.view.links.get(ordinal) for ordinal in ordinals),
            f"no user is on pods {ordinals} any more",
        )

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        await self._watcher.until(holds, self._stage.check, what, PATIENCE_SECONDS)


async def tell(stage: Stage, console: Console) -> None:
    """Play the story on the stage and print the figures; the errors are those of `Story`."""
    kube = await Kube.connect(str(stage.kubeconfig))
    store = Store.from_url(stage.store.url)
    live = is_live(console)
    watcher = Watcher(
        store, Service(NAMESPACE, "rooms"), lambda at, text: None if live else console.print(f"{clock(at)}  {text}")
    )
    story = Story(stage, kube, store, watcher)
    watching = asyncio.create_task(watcher.run())
    try:
        if live:
            with Live(get_renderable=lambda: screen(watcher.view), console=console, refresh_per_second=10):
                await story.play()
        else:
            await story.play()
            console.print(plain_state(watcher.view))
        good = await story.check()
        console.print(figures_table(watcher.view.figures))
        console.print(f"[green]✓[/green] all {good:,} users are on live pods, each on exactly one")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await kube.close()
        await store.close()


def _collection(body: dict[str, str]) -> str:
    return f"/apis/{body['apiVersion']}/namespaces/{NAMESPACE}/{body['kind'].lower()}s"
