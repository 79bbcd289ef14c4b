"""The stores that StatefulRoutes name, one connection pool for each URL."""

from stateful_route.api.conditions import Reason
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.errors import InvalidArgument
from stateful_route.kube.client import Kube
from stateful_route.kube.objects import read_secret
from stateful_route.reconcile.problem import Problem
from stateful_route.store.connection import Store
from stateful_route.store.layout import check_layout


class Stores:
    """Hands out stores; connects each once, and checks its layout before anybody writes there."""

    def __init__(self, default_url: str | None) -> None:
        self._default_url = default_url
        self._stores: dict[str, Store] = {}
        self._checked: set[str] = set()

    async def of(self, kube: Kube, route: StatefulRoute) -> Store:
        """The store of a StatefulRoute.

        Raises:
            Problem: no URL, a Secret without it, or a URL of no known form.
            LayoutMismatch: a newer version of this project wrote it.
            StoreUnavailable, StoreRejected: it could not be asked.
        """
        url = await self._url(kube, route)
        store = self._stores.get(url)
        if store is None:
            try:
                store = self._stores[url] = Store.from_url(url)
            except InvalidArgument as error:
                raise Problem(Reason.INVALID_URL, str(error)) from error
        if url not in self._checked:
            await check_layout(store)
            self._checked.add(url)
        return store

    def recheck(self, store: Store) -> None:
        """The store was away: look at its layout again before the next write."""
        self._checked -= {url for url, known in self._stores.items() if known is store}

    async def close(self) -> None:
        """Close all connections."""
        for store in self._stores.values():
            await store.close()

    async def _url(self, kube: Kube, route: StatefulRoute) -> str:
        redis = route.spec.redis
        if redis.url:
            return redis.url
        if (secret := redis.url_secret_ref) is None:
            if self._default_url is None:
                raise Problem(
                    Reason.INVALID_URL,
                    "no store: set spec.redis.url or spec.redis.urlSecretRef, or start the operator with "
                    "STATEFUL_ROUTE_REDIS_URL",
                )
            return self._default_url
        url = await read_secret(kube, route.metadata.namespace, secret.name, secret.key)
        if not url:
            raise Problem(
                Reason.SECRET_NOT_FOUND,
                f"Secret {secret.name!r} has no key {secret.key!r} in namespace {route.metadata.namespace!r}: "
                "create it with the store's URL, or correct spec.redis.urlSecretRef",
            )
        return url
