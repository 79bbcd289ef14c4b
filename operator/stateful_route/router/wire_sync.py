"""The synchronous twin of `wire`, written by hand: threads that are left behind when their time is over."""

import socket
import time
from collections.abc import Callable

from stateful_route.domain.address import host_port
from stateful_route.router.runtime_sync import within
from stateful_route.router.wire import CHANNEL_OPTIONS, READ_BYTES, grpc_module, unverified

__all__ = ["exchange", "grpc_module", "unary"]


def exchange(
    host: str, port: int, request: bytes, complete: Callable[[bytes], bool], *, tls: bool, seconds: float
) -> bytes:
    """Connect, send, and give what has come back by the time that ``complete`` says so, or the other end closes.

    ``tls``: whoever answers is believed, as the kubelet does: no certificate is verified.

    Raises:
        OSError: no connection, or a broken one; as `TimeoutError` when it all took longer than ``seconds``.
    """
    end = time.monotonic() + seconds
    # a name is looked up without a deadline: hence the thread
    return within(seconds, lambda: _exchange((host, port), request, complete, tls=tls, end=end))


def unary(host: str, port: int, method: str, request: bytes, *, seconds: float) -> bytes:
    """A gRPC call in plain text: the reply's bytes.

    Raises:
        OSError: it failed, or took longer than ``seconds``; the message has the status and what the server said.
        ExtraMissing: grpcio is not installed.
    """
    grpc = grpc_module()
    with grpc.insecure_channel(host_port(host, port), CHANNEL_OPTIONS) as channel:
        try:
            reply: bytes = channel.unary_unary(method)(request, timeout=seconds)
        except grpc.RpcError as error:
            raise OSError(f"{error.code().name}: {error.details()}") from error
        return reply


def _exchange(
    address: tuple[str, int], request: bytes, complete: Callable[[bytes], bool], *, tls: bool, end: float
) -> bytes:
    connection = socket.create_connection(address, _left(end))
    try:
        if tls:
            connection.settimeout(_left(end))
            connection = unverified().wrap_socket(connection, server_hostname=address[0])
        connection.settimeout(_left(end))
        connection.sendall(request)
        received = b""
        while not complete(received):
            connection.settimeout(_left(end))
            more = connection.recv(READ_BYTES)
            if not more:
                break
            received += more
        return received
    finally:
        connection.close()


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
