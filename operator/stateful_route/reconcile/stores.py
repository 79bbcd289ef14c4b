"""The stores that StatefulRoutes name, one client for each URL."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stateful_route.api.conditions import Reason
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.errors import (
    InvalidArgument,
    LayoutMismatch,
    OwnedElsewhere,
    StatefulRouteError,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
)
from stateful_route.domain.meter import UNMETERED, Meter
from stateful_route.domain.outage import (
    Outage,
    answered,
    due,
    everywhere,
    failed,
    missed,
    renewed,
    told,
)
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.objects import SecretLacking, read_secret
from stateful_route.reconcile.budget import Budget
from stateful_route.reconcile.hearing import Hearing, Listener
from stateful_route.reconcile.key_walk import KeyWalk
from stateful_route.reconcile.problem import Problem
from stateful_route.reconcile.vacancies import Vacancies
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.layout import check_layout
from stateful_route.store.states import get_service
from stateful_route.store.tenure import ElectedStore, Tenure
from stateful_route.store.urls import SCHEMES, reads_login

log = logging.getLogger(__name__)


class Stores:
    """Hands out stores; connects each once. Whoever writes there looks at its layout first.

    A client that gets nothing done is not kept for ever: where it fails and a fresh one from the same URL reaches the
    store, the fresh one takes its place. So this process reaches whatever one that is started anew would reach.
    """

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
        """URL → the store that is handed out."""
        self._used: dict[str, tuple[str, Store]] = {}
        """uid of a StatefulRoute → the URL and the store that it was last served with."""
        self._outages: dict[str, Outage] = {}
        """uid of a StatefulRoute → since when and why nothing gets done on its store."""
        self._hearing: dict[Store, Hearing] = {}
        self._budgets: dict[Store, Budget] = {}
        self._walks: dict[Store, KeyWalk] = {}
        self._vacancies: dict[Store, Vacancies] = {}

    @property
    def away(self) -> str | None:
        """Which stores cannot be used, since when, for whom and why; None: all can be."""
        return told(self._outages.values(), time.monotonic(), time.time())

    @property
    def all_away(self) -> bool:
        """Whether nothing can be done for any StatefulRoute."""
        return everywhere(self._outages, len(self._used.keys() | self._outages.keys()))

    async def of(self, kube: Kube, route: StatefulRoute) -> Store:
        """The store of a StatefulRoute; another object when its URL has changed, or when a fresh client does better.

        Raises:
            Problem: no URL, a Secret without it, or a URL of no known form.
            KubeError: the Secret cannot be read, and never could.
        """
        url = await self._url(kube, route)
        if url not in self._stores:
            self._stores[url] = self._connected(url, route)
        elif self._used.get(route.metadata.uid) == (url, self._stores[url]):
            await self._replace_if_better(url, route)
        store = self._stores[url]
        await self._note(route.metadata.uid, url, store)
        if isinstance(store, ElectedStore):
            await store.introduced()
        return store

    def last(self, route: StatefulRoute) -> Store | None:
        """The store that the StatefulRoute was last served with, wherever its URL has gone; None: there was none."""
        _, store = self._used.get(route.metadata.uid, (None, None))
        return store

    @contextmanager
    def judged(self, route: StatefulRoute) -> Iterator[None]:
        """Note whether there is a store, and does what the block asks for; other errors say nothing of it.

        That this process was too busy to ask says nothing of it either.
        """
        try:
            yield
        except Problem as problem:
            if problem.of_the_store:
                self._note_failure(route, "", problem)
            else:
                self._outages.pop(route.metadata.uid, None)
            raise
        except (LayoutMismatch, OwnedElsewhere):
            self._outages.pop(route.metadata.uid, None)
            raise
        except StoreBusy:
            raise
        except (StoreUnavailable, StoreRejected) as error:
            if answered(error):
                self._outages.pop(route.metadata.uid, None)
            elif (store := self.last(route)) is not None:
                self._note_failure(route, store.label, error)
            raise
        self._outages.pop(route.metadata.uid, None)

    def budget(self, store: Store) -> Budget:
        """What all services that use the store share of it; it lasts as long as the store is open."""
        return self._budgets.setdefault(store, Budget())

    def key_walk(self, store: Store) -> KeyWalk:
        """The one search of the store for links that are not in the index; it lasts as long as the store is open."""
        if store not in self._walks:
            self._walks[store] = KeyWalk(store)
        return self._walks[store]

    def vacancies(self, store: Store) -> Vacancies:
        """Which services of the store have no links; it lasts as long as the store is open."""
        if store not in self._vacancies:
            self._vacancies[store] = Vacancies(store)
        return self._vacancies[store]

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
        self._outages.pop(route.metadata.uid, None)
        former = self._used.pop(route.metadata.uid, None)
        if former is not None:
            await self._close_if_unused(*former)

    async def close(self) -> None:
        """Close all connections."""
        stores = {*self._stores.values(), *(store for _, store in self._used.values())}
        self._stores.clear()
        self._used.clear()
        for store in stores:
            await self._close(store)

    def _connected(self, url: str, route: StatefulRoute) -> Store:
        store = _connect(url, route, self._tenure)
        store.meter = self._meter
        return store

    def _note_failure(self, route: StatefulRoute, store: str, error: StatefulRouteError) -> None:
        uid, name = route.metadata.uid, f"{route.metadata.namespace}/{route.metadata.name}"
        self._outages[uid] = failed(self._outages.get(uid), name, store, error, time.monotonic())

    async def _replace_if_better(self, url: str, route: StatefulRoute) -> None:
        """Try a fresh client, where the present one has got nothing done for long enough."""
        uid = route.metadata.uid
        outage, former = self._outages.get(uid), self._stores[url]
        if outage is None or not due(outage, time.monotonic()):
            return
        fresh = self._connected(url, route)
        try:
            async with asyncio.timeout(fresh.options.deadline_seconds):
                await check_layout(fresh, stamp=False)
                await get_service(fresh, Service(route.metadata.namespace, route.service_name))
        except (TimeoutError, LayoutMismatch, StoreUnavailable, StoreRejected):
            self._outages[uid] = missed(outage, time.monotonic())
        else:
            if self._stores.get(url) is former:
                self._stores[url] = fresh
                facts = {"store": fresh.label, "route": outage.route, "cause": outage.cause}
                log.warning("a fresh client reaches the store; it takes the place of the old one", extra=facts)
        finally:
            if self._stores.get(url) is not fresh:
                await fresh.close()

    async def _note(self, uid: str, url: str, store: Store) -> None:
        former = self._used.get(uid)
        self._used[uid] = (url, store)
        if former is None or former[1] is store:
            return
        if (outage := self._outages.get(uid)) is not None:
            self._outages[uid] = renewed(outage, time.monotonic())
        await self._close_if_unused(*former)

    async def _close_if_unused(self, url: str, store: Store) -> None:
        """A store that has been replaced is used by each StatefulRoute until its next full pass."""
        urls, stores = zip(*self._used.values(), strict=True) if self._used else ((), ())
        if url not in urls and self._stores.get(url) is store:
            del self._stores[url]
        if store not in stores and store not in self._stores.values():
            await self._close(store)

    async def _close(self, store: Store) -> None:
        self._budgets.pop(store, None)
        if (walk := self._walks.pop(store, None)) is not None:
            await walk.close()
        if (vacancies := self._vacancies.pop(store, None)) is not None:
            await vacancies.close()
        if (hearing := self._hearing.pop(store, None)) is not None:
            await hearing.close()
        await store.close()

    async def _url(self, kube: Kube, route: StatefulRoute) -> str:
        redis = route.spec.redis
        if redis.url:
            return _without_files(redis.url, "spec.redis.url")
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
        except SecretLacking as error:
            raise Problem(
                Reason.SECRET_NOT_FOUND,
                f"{error}: create it with the store's URL, or correct spec.redis.urlSecretRef",
            ) from error
        except KubeError as error:
            if error.forbidden:
                raise Problem(
                    Reason.SECRET_NOT_FOUND,
                    f"the operator may not read Secret {secret.name!r} in namespace {namespace!r}: grant it get on "
                    f"secrets there ({error})",
                ) from error
            if known := self._used.get(route.metadata.uid):
                return known[0]  # the API server is away: the store need not be
            raise
        return _without_files(url, f"key {secret.key!r} of Secret {secret.name!r}")


def _without_files(url: str, where: str) -> str:
    """The URL of a StatefulRoute, which may not have files of the operator's sent to a server that it names.

    Raises:
        Problem: it names some for a login.
    """
    if reads_login(url):
        raise Problem(
            Reason.INVALID_URL,
            f"{where}: only the operator's own store may read a user or password from a file. Put the password itself "
            "into the URL in the Secret of spec.redis.urlSecretRef; the operator reads this Secret again in each pass",
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
