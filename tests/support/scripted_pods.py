"""Pods that do as a test says: real HTTP servers, whose states and addresses a test tells as the operator does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from stateful_route.domain.routing import LinkAction
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import service_of
from stateful_route.store.links import remove_link, set_link
from stateful_route.store.states import claim, set_operator_states
from support.operator_records import record

OWNER = "test-cluster/test-route"


@dataclass(frozen=True)
class Asked:
    """One request, as a pod has got it; the names of headers in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What a pod answers; ``chunked``: in two chunks."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False


class ScriptedPod:
    """A server that answers as it is told, and remembers what it was asked.

    Attributes:
        ordinal: Its pod index.
        reply: Makes the answer; it may take its time. None as an answer: the pod breaks off without any.
        asked: The requests so far.
        address: ``host:port``; whoever connects after `close` is refused.
    """

    def __init__(self, ordinal: int) -> None:
        self.ordinal = ordinal
        self.reply: Callable[[Asked], Reply | None] = lambda _: Reply(body=b"pod %d" % ordinal)
        self.asked: list[Asked] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._serving = Thread(target=self._server.serve_forever, args=[0.01])
        self._serving.start()

    def close(self) -> None:
        """Listen no more. Repeatable."""
        if self._serving.is_alive():
            self._server.shutdown()
            self._serving.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pod = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                pod.asked.append(Asked(self.command, self.path, headers, body))
                reply = pod.reply(pod.asked[-1])
                self.close_connection = True
                if reply is None:
                    return
                self.send_response(reply.status)
                length = {"Transfer-Encoding": "chunked"} if reply.chunked else {"Content-Length": len(reply.body)}
                for name, value in {**length, "Connection": "close", **reply.headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                if self.command == "HEAD":
                    return
                half = len(reply.body) // 2
                parts = [reply.body[:half], reply.body[half:], b""] if reply.chunked else [reply.body]
                for part in parts:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if reply.chunked else part)

            do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815  the base class's names

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class StagedService:
    """A service whose pods are scripted, and whose operator is the test."""

    def __init__(self, executor: StatefulExecutor, namespace: str, service: str, pods: list[ScriptedPod]) -> None:
        self.executor = executor
        self.pods = pods
        self.target = service_of(namespace, service)

    async def say(self, *states: str, links: LinkAction = LinkAction.STAY) -> None:
        """Say how the pods are, in order: ``say("READY", "DENY_NEW_CALL")``; ``links``: of those that are not READY."""
        records = {
            pod.ordinal: record(state, links if state != "READY" else LinkAction.STAY, address=pod.address)
            for pod, state in zip(self.pods, states, strict=False)
        }
        store = await self.executor.store()
        await claim(store, self.target, OWNER, {"heartbeat": "Auto"})
        await set_operator_states(store, self.target, OWNER, records)

    async def link(self, uid: str, pod: int) -> None:
        """Link the uid to a pod for good; nobody is told."""
        await set_link(await self.executor.store(), self.target, uid, pod)

    async def unlink(self, uid: str) -> None:
        """Remove the uid's link; nobody is told."""
        await remove_link(await self.executor.store(), self.target, uid)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Whoever has asked has given up."""
