"""Health probes against real servers, by both twins: who is healthy, who is not, and that none takes too long."""

import asyncio
import inspect
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stateful_route.domain.aliveness import Author, PodView, ServiceState
from stateful_route.domain.errors import ExtraMissing, InvalidArgument
from stateful_route.domain.health import NOT_ASKED
from stateful_route.domain.routing import RoutingState
from stateful_route.router import probes, probes_sync
from stateful_route.router.probes import MAX_RESPONSE_BYTES, RecordAgeProbe

HOST = "127.0.0.1"


@pytest.fixture(params=["async", "sync"])
def twin(request):
    """The module with the probes; `look` asks one of its probes."""
    return probes if request.param == "async" else probes_sync


def look(probe, host=HOST):
    found = probe.probe(host)
    return asyncio.run(found) if inspect.iscoroutine(found) else found


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


class Pages(BaseHTTPRequestHandler):
    """``/status/503`` answers with that status; what was asked is kept."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        status = int(self.path.split("/")[2]) if self.path.startswith("/status/") else 200
        body = b"" if status in {204, 304} else b"hello"
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/status/500")
        if status not in {204, 304}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def pages():
    server = ThreadingHTTPServer((HOST, 0), Pages)
    server.asked = []
    with serving(server):
        yield server


@pytest.fixture
def answering():
    """A server that sends each caller the given pieces, and then closes, or waits for the caller to: its port."""
    stack = ExitStack()

    def start(*pieces, pause=0.0, close=True):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.settimeout(10)
                try:
                    if self.request.recv(65536):
                        for piece in pieces:
                            self.request.sendall(piece)
                            time.sleep(pause)
                    while not close and self.request.recv(65536):
                        pass
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        return stack.enter_context(serving(Server((HOST, 0), Handler)))

    with stack:
        yield start


@pytest.fixture
def closed_port():
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    ("status", "healthy"), [(200, True), (204, True), (302, True), (304, True), (399, True), (400, False), (503, False)]
)
def test_http_is_healthy_from_200_to_399(twin, pages, status, healthy):
    result = look(twin.HttpProbe(pages.server_port, f"/status/{status}"))
    assert (result.healthy, result.why) == (healthy, f"HTTP {status}")
    assert 0 < result.seconds < 5
    assert len(pages.asked) == 1, "a redirect is not followed"


def test_http_sends_path_query_and_headers(twin, pages):
    look(twin.HttpProbe(pages.server_port, "/live now?deep=1", headers={"host": "room.example", "X-Probe": "yes"}))
    ((path, headers),) = pages.asked
    assert path == "/live%20now?deep=1"
    assert (headers["Host"], headers["X-Probe"]) == ("room.example", "yes")


def test_https_believes_any_certificate(twin, tmp_path):
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=somebody", "-days", "1"]
    subprocess.run([*words, "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = ThreadingHTTPServer((HOST, 0), Pages)
    server.asked = []
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        assert look(twin.HttpProbe(port, scheme="HTTPS")).why == "HTTP 200"
        assert look(twin.HttpProbe(port, "/status/500", "HTTPS")).why == "HTTP 500"


def test_https_where_only_http_is_spoken_is_not_healthy(twin, pages):
    result = look(twin.HttpProbe(pages.server_port, scheme="HTTPS"))
    assert not result.healthy
    assert result.why


ANSWERS = {
    "in pieces": ([b"HTTP/1.1 2", b"00 OK\r\nContent-Le", b"ngth: 2\r\n\r\n", b"ok"], True, "HTTP 200"),
    "after a provisional one": (
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"],
        False,
        "HTTP 500",
    ),
    "in chunks": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n"],
        True,
        "HTTP 200",
    ),
    "without a reason": ([b"HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n"], True, "HTTP 200"),
    "in another protocol": ([b"SSH-2.0-OpenSSH_9.2\r\n"], False, "no answer in HTTP"),
    "without a number": ([b"HTTP/1.1 fine\r\n\r\n", b"x" * MAX_RESPONSE_BYTES], False, "no answer in HTTP"),
    "without an end of its head": ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_RESPONSE_BYTES], False, "no answer in HTTP"),
    "with a body that has no end": (
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * MAX_RESPONSE_BYTES],
        True,
        "HTTP 200",
    ),
}


@pytest.mark.parametrize("sentence", ANSWERS)
def test_an_http_answer(twin, answering, sentence):
    pieces, healthy, why = ANSWERS[sentence]
    result = look(twin.HttpProbe(answering(*pieces, close=False)))
    assert (result.healthy, result.why) == (healthy, why)


@pytest.mark.parametrize("answer", [[b"HTTP/1.1 200 OK\r\n\r\nhello"], [b"HTTP/1.1 200 OK\r\n", b"\r\n"]])
def test_an_http_answer_may_end_with_the_connection(twin, answering, answer):
    assert look(twin.HttpProbe(answering(*answer))).why == "HTTP 200"


def test_an_http_server_that_closes_without_a_word_is_not_healthy(twin, answering):
    result = look(twin.HttpProbe(answering()))
    assert not result.healthy
    assert result.why in {"no answer in HTTP", "Connection reset by peer"}


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\n"], [b"HTTP/1.1 200 OK\r\n\r\n"]])
def test_an_http_server_that_does_not_come_to_an_end_is_not_healthy_after_the_timeout(twin, answering, pieces):
    port = answering(*pieces, pause=0.05, close=False)
    result = look(twin.HttpProbe(port, timeout_seconds=0.3))
    assert not result.healthy
    assert result.seconds >= 0.29
    assert result.why == "no answer within 0.3 s"


def test_one_letter_now_and_then_does_not_prolong_the_timeout(twin, answering):
    answer = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000
    port = answering(*[bytes([letter]) for letter in answer], pause=0.05)
    result = look(twin.HttpProbe(port, timeout_seconds=0.4))
    assert result.why == "no answer within 0.4 s"
    assert result.seconds < 5


@pytest.mark.parametrize("kind", ["HttpProbe", "TcpProbe", "GrpcProbe"])
def test_nobody_at_the_port_is_not_healthy(twin, closed_port, kind):
    if kind == "GrpcProbe":
        pytest.importorskip("grpc")
    result = look(getattr(twin, kind)(closed_port))
    assert not result.healthy
    assert "refused" in result.why.lower()


@pytest.mark.parametrize("kind", ["HttpProbe", "TcpProbe", "GrpcProbe"])
@pytest.mark.parametrize("host", ["no-such-host.invalid", "", "a" * 300, "no\nhost", "::ffff:0:0:0:1:zz"])
def test_a_host_that_is_none_is_not_healthy(twin, kind, host):
    if kind == "GrpcProbe":
        pytest.importorskip("grpc")
    assert not look(getattr(twin, kind)(1, timeout_seconds=2), host).healthy


def test_tcp_is_healthy_when_somebody_accepts(twin, answering):
    result = look(twin.TcpProbe(answering(close=False)))
    assert (result.healthy, result.why) == (True, "connected")


def test_tcp_is_not_healthy_when_nobody_accepts_in_time(twin):
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(3):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex((HOST, port))
        result = look(twin.TcpProbe(port, timeout_seconds=0.3))
        for one in waiting:
            one.close()
    assert (result.healthy, result.why) == (False, "no answer within 0.3 s")


def test_a_name_is_looked_up(twin, pages):
    assert look(twin.HttpProbe(pages.server_port), "localhost").healthy


@pytest.fixture
def health_server():
    """A gRPC server whose health service answers by service name, late if it is asked to; its port and what it got."""
    grpc = pytest.importorskip("grpc")
    replies = {
        b"": b"\x08\x01",
        b"\x0a\x05rooms": b"\x08\x01",
        b"\x0a\x04down": b"\x08\x02",
        b"\x0a\x05vague": b"",
        b"\x0a\x03odd": b"\x12\x00",
        b"\x0a\xac\x02" + b"x" * 300: b"\x08\x01",
    }

    def check(request, context):
        if request == b"\x0a\x04slow":
            time.sleep(1)
        if request not in replies:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return replies[request]

    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    yield port
    server.stop(None).wait(60)


@pytest.mark.parametrize(
    ("service", "healthy", "why"),
    [
        ("", True, "SERVING"),
        ("rooms", True, "SERVING"),
        ("x" * 300, True, "SERVING"),
        ("down", False, "NOT_SERVING"),
        ("vague", False, "UNKNOWN"),
        ("elsewhere", False, "NOT_FOUND: unknown service"),
        ("odd", False, "no HealthCheckResponse: b'\\x12\\x00'"),
    ],
)
def test_grpc_is_healthy_when_it_is_serving(twin, health_server, service, healthy, why):
    result = look(twin.GrpcProbe(health_server, service))
    assert (result.healthy, result.why) == (healthy, why)


def test_grpc_that_does_not_answer_in_time_is_not_healthy(twin, health_server):
    result = look(twin.GrpcProbe(health_server, "slow", timeout_seconds=0.3))
    assert not result.healthy
    assert result.seconds < 5


def test_grpc_without_a_health_service_is_not_healthy(twin):
    grpc = pytest.importorskip("grpc")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    result = look(twin.GrpcProbe(port))
    server.stop(None).wait(60)
    assert not result.healthy
    assert result.why.startswith("UNIMPLEMENTED")


def test_a_pod_that_comes_back_is_healthy_at_the_next_grpc_probe(twin):
    """Not a matter of course: gRPC shares connections, and their pauses after a failure, between channels."""
    grpc = pytest.importorskip("grpc")
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(lambda *_: b"\x08\x01")}
    handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers)
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    probe = twin.GrpcProbe(port, timeout_seconds=2)
    assert not look(probe).healthy
    assert server.add_insecure_port(f"{HOST}:{port}") == port
    server.start()
    assert look(probe).healthy
    server.stop(None).wait(60)


def test_without_grpcio_the_error_says_what_to_install(twin, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "grpc", None)
    with pytest.raises(ExtraMissing, match="pip install grpcio"):
        twin.GrpcProbe(1)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("HttpProbe", {"port": 0}),
        ("HttpProbe", {"port": 65536}),
        ("HttpProbe", {"port": True}),
        ("TcpProbe", {"port": "80"}),
        ("HttpProbe", {"port": 80, "scheme": "FTP"}),
        ("HttpProbe", {"port": 80, "headers": {"X": "a\r\nY: b"}}),
        ("HttpProbe", {"port": 80, "headers": {"X": "\u0416"}}),
        ("HttpProbe", {"port": 80, "timeout_seconds": 0}),
        ("TcpProbe", {"port": 80, "timeout_seconds": float("inf")}),
    ],
)
def test_a_probe_that_cannot_be_is_refused_when_it_is_made(twin, kind, arguments):
    with pytest.raises(InvalidArgument):
        getattr(twin, kind)(**arguments)


def test_a_path_cannot_add_headers(twin, pages):
    assert look(twin.HttpProbe(pages.server_port, "/a\r\nX-Evil: 1")).healthy
    ((path, headers),) = pages.asked
    assert path == "/a%0D%0AX-Evil:%201"
    assert "X-Evil" not in headers


def view(age_seconds, author=Author.APP):
    return PodView(ServiceState(0, RoutingState.READY, 0, author), None, age_seconds)


RECORDS = {
    "a fresh state is healthy": (view(3), 0, True, "state is 3.0 s old"),
    "also a foreign client's": (view(3, Author.FOREIGN), 0, True, "state is 3.0 s old"),
    "what has passed since it was read counts": (view(3), 57, False, "state is 60.0 s old"),
    "the operator's entry for a silent pod says nothing": (view(3, Author.OPERATOR), 0, False, "publishes no state"),
    "no state": (PodView(None, None, None), 0, False, "publishes no state"),
    "no such pod": (None, 0, False, "publishes no state"),
}


@pytest.mark.parametrize("sentence", RECORDS)
def test_record_age(sentence):
    pod, since, healthy, why = RECORDS[sentence]
    result = RecordAgeProbe(60).judged(pod, since)
    assert (result.healthy, result.seconds, result.why) == (healthy, NOT_ASKED, why)
