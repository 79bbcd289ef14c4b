"""Asking a pod something over the network, within a time: all that a health probe needs of sockets and gRPC.

Written by hand, as its synchronous twin is.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from stateful_route.domain.address import host_port
from stateful_route.domain.errors import ExtraMissing

READ_BYTES = 4096

CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.enable_http_proxy", 0),  # a pod is asked directly
    ("grpc.use_local_subchannel_pool", 1),  # else a probe would be told what an earlier one has met
    ("grpc.enable_retries", 0),
)


async def exchange(
    host: str, port: int, request: bytes, complete: Callable[[bytes], bool], *, tls: bool, seconds: float
) -> bytes:
    """Connect, send, and give what has come back by the time that ``complete`` says so, or the other end closes.

    ``tls``: whoever answers is believed, as the kubelet does: no certificate is verified.

    Raises:
        OSError: no connection, or a broken one; as `TimeoutError` when it all took longer than ``seconds``.
    """
    async with asyncio.timeout(seconds):
        context = unverified() if tls else None
        reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=READ_BYTES)
        try:
            writer.write(request)
            received = b""
            while not complete(received):
                more = await reader.read(READ_BYTES)
                if not more:
                    break
                received += more
            return received
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


async def unary(host: str, port: int, method: str, request: bytes, *, seconds: float) -> bytes:
    """A gRPC call in plain text: the reply's bytes.

    Raises:
        OSError: it failed, or took longer than ``seconds``; the message has the status and what the server said.
        ExtraMissing: grpcio is not installed.
    """
    grpc = grpc_module()
    async with asyncio.timeout(seconds), grpc.aio.insecure_channel(host_port(host, port), CHANNEL_OPTIONS) as channel:
        try:
            reply: bytes = await channel.unary_unary(method)(request, timeout=seconds)
        except grpc.RpcError as error:
            raise OSError(f"{error.code().name}: {error.details()}") from error
        return reply


def grpc_module() -> Any:
    """The module ``grpc``; raises `ExtraMissing` where it is not installed."""
    try:
        return import_module("grpc")
    except ImportError as error:
        raise ExtraMissing("a gRPC probe needs grpcio: pip install grpcio") from error


@cache
def unverified() -> ssl.SSLContext:
    """A client's TLS that verifies nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
