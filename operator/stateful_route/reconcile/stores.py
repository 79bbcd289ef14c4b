"""The stores that StatefulRoutes name, one connection pool for each URL."""

from stateful_route.api.conditions import Reason
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.meter import UNMETERED, Meter
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.objects import read_secret
from stateful_route.reconcile.hearing import Hearing, Listener
from stateful_route.reconcile.problem import Problem
from stateful_route.store.connection import Store
from stateful_route.store.tenure import ElectedStore, Tenure
from stateful_route.store.urls import SCHEMES


class Stores:
    """Hands out stores; connects each once. Whoever writes there looks at its layout first."""

    def __init__(self, default_url: str | None, tenure: Tenure | None = None, meter: Meter = UNMETERED) -> None:
        """Stores for one term.

        Args:
            default_url: Of StatefulRoutes that name none.
            tenure: What all writes heed; None: nobody else may lead.
            meter: Hears of all round trips.
        """
        self._default_url = default_url
        self._tenure = tenure
        self._meter = meter
        self._stores: dict[str, Store] = {}
        self._urls: dict[str, str] = {}
        """uid of a StatefulRoute → the URL that it was last served with."""
        self._hearing: dict[Store, Hearing] = {}

    async def of(self, kube: Kube, route: StatefulRoute) -> Store:
        """The store of a StatefulRoute; another object when its URL has changed.

        Raises:
            Problem: no URL, a Secret without it, or a URL of no known form.
            KubeError: the Secret cannot be read, and never could.
        """
        url = await self._url(kube, route)
        store = self._stores.get(url)
        if store is None:
            store = self._stores[url] = _connect(url, route, self._tenure)
            store.meter = self._meter
        await self._note(route.metadata.uid, url)
        if isinstance(store, ElectedStore):
            await store.introduced()
        return store

    def last(self, route: StatefulRoute) -> Store | None:
        """The store that the StatefulRoute was last served with, wherever its URL has gone; None: there was none."""
        return self._stores.get(self._urls.get(route.metadata.uid, ""))

    async def listen(self, store: Store, channel: str, listener: Listener) -> None:
        """Have it told what the store says on a channel, as long as the store is open; repeatable."""
        hearing = self._hearing.get(store)
        if hearing is None:
            hearing = self._hearing[store] = Hearing(store)
        await hearing.add(channel, listener)

    async def unlisten(self, listener: Listener) -> None:
        """It is told nothing any more."""
        for hearing in list(self._hearing.values()):
            await hearing.remove(listener)

    async def forget(self, route: StatefulRoute) -> None:
        """The StatefulRoute is gone; close its store when nobody else uses it."""
        await self._note(route.metadata.uid, None)

    async def close(self) -> None:
        """Close all connections."""
        while self._stores:
            _, store = self._stores.popitem()
            await self._close(store)

    async def _note(self, uid: str, url: str | None) -> None:
        former = self._urls.get(uid)
        if former == url:
            return
        if url is None:
            del self._urls[uid]
        else:
            self._urls[uid] = url
        if former is not None and former not in self._urls.values():
            store = self._stores.pop(former, None)
            if store is not None:  # else everything has just been closed
                await self._close(store)

    async def _close(self, store: Store) -> None:
        if (hearing := self._hearing.pop(store, None)) is not None:
            await hearing.close()
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
        namespace = route.metadata.namespace
        try:
            url = await read_secret(kube, namespace, secret.name, secret.key)
        except KubeError as error:
            if error.forbidden:
                raise Problem(
                    Reason.SECRET_NOT_FOUND,
                    f"the operator may not read Secret {secret.name!r} in namespace {namespace!r}: grant it get on "
                    f"secrets there ({error})",
                ) from error
            if known := self._urls.get(route.metadata.uid):
                return known  # the API server is away: the store need not be
            raise
        if not url:
            raise Problem(
                Reason.SECRET_NOT_FOUND,
                f"Secret {secret.name!r} has no key {secret.key!r} in namespace {namespace!r}: "
                "create it with the store's URL, or correct spec.redis.urlSecretRef",
            )
        return url


def _connect(url: str, route: StatefulRoute, tenure: Tenure | None) -> Store:
    try:
        return Store.from_url(url) if tenure is None else ElectedStore.under(tenure, url)
    except InvalidArgument as error:
        if route.spec.redis.url:
            raise Problem(Reason.INVALID_URL, f"spec.redis.url: {error}") from error
        # What is no URL may be a password that got into the wrong place: say where it is, not what it is.
        if (secret := route.spec.redis.url_secret_ref) is not None:
            where = f"key {secret.key!r} of Secret {secret.name!r}"
        else:
            where = "the operator's STATEFUL_ROUTE_REDIS_URL"
        why = error.__cause__ or (  # which has no value of the URL in it
            f"it is host and port after one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}; a password in it is "
            "%-encoded"
        )
        raise Problem(Reason.INVALID_URL, f"{where} does not hold the URL of a store: {why}") from None
