"""The callers' side with FastAPI: requests of users go to their pods, all others are answered here."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI
from middleware import Routing, StatefulRouteMiddleware, uid_in_header

from stateful_route import CacheOptions, ClientOptions, RouteOptions, StatefulRoute

NAMESPACE, SERVICE = "default", "rooms"
REFRESH_SECONDS = float(os.environ.get("REFRESH_SECONDS", "5"))

route = StatefulRoute.connect(  # one for the process; it connects at the first request
    os.environ["STATEFUL_ROUTE_REDIS_URL"],
    RouteOptions(
        cache=CacheOptions(refresh_seconds=REFRESH_SECONDS),
        client=ClientOptions(
            address=os.environ.get("POD_ADDRESS", "{pod}.{service}.{namespace}.svc:8000"), avoid_seconds=REFRESH_SECONDS
        ),
    ),
)
http = httpx.AsyncClient(limits=httpx.Limits(max_connections=None, keepalive_expiry=30.0))


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """What the requests share is closed at the end."""
    async with route, http:
        yield


app = FastAPI(lifespan=lifespan)
routing = Routing(namespace=NAMESPACE, service=SERVICE, uid=uid_in_header("X-User-Id"))
app.add_middleware(StatefulRouteMiddleware, route=route, http=http, routing=routing)


@app.get("/pods")
async def pods() -> dict[str, list[int]]:
    """A request of the gateway's own: which pods take new users."""
    return {"ready": await route.info.routable_pods(NAMESPACE, SERVICE)}


def main() -> None:
    """Serve until the end."""
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:8080").rpartition(":")
    uvicorn.run(app, host=host.strip("[]"), port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
