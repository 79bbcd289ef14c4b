"""Plays an example: users come, a pod is killed, another one is asked to end; and checks that everybody is served."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from processes import PODS, Processes, processes

USERS = ("alice", "bob", "carol", "dave", "erin", "frank")
REQUESTS = 3
PATIENCE_SECONDS = 20.0
BETWEEN_SECONDS = 0.02
INTERRUPTED = 130


class Unexpected(Exception):  # noqa: N818  names the fact
    """The story does not go as it should."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a user was told.

    Attributes:
        pod: By which pod.
        count: How many requests of the user that pod knows of.
        seconds: How long it took, with all attempts.
        attempts: How often the user had to ask.
    """

    pod: int
    count: int
    seconds: float
    attempts: int


Answers = Mapping[str, Answer]


def main(folder: Path, title: str) -> int:
    """Play the example in this folder; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with processes(folder) as running:
            print(f"{title}: a store, {PODS} pods, a manager and a gateway are started.", flush=True)
            _play(running)
    except KeyboardInterrupt:
        print("\nInterrupted; everything has ended.")
        return INTERRUPTED
    except (Unexpected, subprocess.TimeoutExpired) as error:
        print(f"\nThis should not have happened: {error}", file=sys.stderr)
        return 1
    print("\nEverybody was answered; everything has ended.")
    return 0


def _play(running: Processes) -> None:
    for ordinal in range(PODS):
        running.start_pod(ordinal)
    running.start_others()
    _wait_ready(running, range(PODS))

    print(f"\n1. {len(USERS)} users send {REQUESTS} requests each. Each user has a pod, which counts.\n")
    for _ in range(REQUESTS):
        first = _ask_all(running.gateway)
    _show(first)
    _demand(all(answer.count == REQUESTS for answer in first.values()), "a count is wrong")

    killed, ended = _victims(first)
    print(f"\n2. Pod {killed} is killed: it can save nothing. Its users begin anew on other pods, the others go on.\n")
    running.pods[killed].send(signal.SIGKILL)
    second = _ask_all(running.gateway)
    _show(second, first)
    for uid, answer in second.items():
        was = first[uid]
        if was.pod == killed:
            _demand(answer.pod != killed and answer.count == 1, f"{uid} does not begin anew")
        else:
            _demand((answer.pod, answer.count) == (was.pod, was.count + 1), f"{uid} has been disturbed")

    print(
        f"\n3. Pod {killed} is started again, and pod {ended} is asked to end. First it gives its users away, saved.\n"
    )
    running.start_pod(killed)
    _wait_ready(running, range(PODS))
    leaving = running.pods[ended]
    leaving.send(signal.SIGTERM)
    third, asked, slowest = _ask_all_the_while(running.gateway, second, lambda: leaving.running)
    leaving.wait()
    _show(third, second)
    _demand(all(answer.pod != ended for answer in third.values()), f"somebody is still on pod {ended}")
    print(
        f"\n   {asked} requests meanwhile, the slowest answered after {slowest:.2f} s; no count was lost.", flush=True
    )


# Users


def _ask_all(gateway: str) -> Answers:
    """One request of each user, all at the same time."""
    with ThreadPoolExecutor(len(USERS)) as pool:
        return dict(zip(USERS, pool.map(lambda uid: _ask(gateway, uid), USERS), strict=True))


def _ask_all_the_while(gateway: str, before: Answers, lasts: Callable[[], bool]) -> tuple[Answers, int, float]:
    """All users ask again and again; the last answers, how many there were, and how long the slowest took.

    Raises:
        Unexpected: a count is not by one higher than the last.
    """
    over = threading.Event()

    def one(uid: str) -> tuple[Answer, int, float]:
        answer, asked, slowest, last = before[uid], 0, 0.0, False
        while not last:
            last = over.wait(BETWEEN_SECONDS)
            count = answer.count
            answer = _ask(gateway, uid)
            _demand(answer.count == count + 1, f"{uid} was at {count}, and is at {answer.count} on pod {answer.pod}")
            asked, slowest = asked + 1, max(slowest, answer.seconds)
        return answer, asked, slowest

    with ThreadPoolExecutor(len(USERS)) as pool:
        asking = {uid: pool.submit(one, uid) for uid in USERS}
        try:
            _wait(lambda: not lasts(), "the pod has not ended")
        finally:
            over.set()
        found = {uid: future.result() for uid, future in asking.items()}
    answers = {uid: answer for uid, (answer, _, _) in found.items()}
    return answers, sum(asked for _, asked, _ in found.values()), max(slowest for _, _, slowest in found.values())


def _ask(gateway: str, uid: str) -> Answer:
    """One request, as a well-behaved client sends it: turned away, it comes back when it is told to."""
    began, attempts = time.monotonic(), 0
    while True:
        attempts += 1
        status, headers, body = _exchange(gateway, "POST", f"/users/{uid}/count", {"X-User-Id": uid})
        seconds = time.monotonic() - began
        if status == http.client.OK:
            answer = json.loads(body)
            return Answer(answer["pod"], answer["count"], seconds, attempts)
        _demand(status in {502, 503, 504} and seconds < PATIENCE_SECONDS, f"{uid} was answered {status}: {body!r}")
        time.sleep(float(headers.get("retry-after", "0.2")))


def _wait_ready(running: Processes, pods: Collection[int]) -> None:
    """Until the gateway knows that these pods take new users."""

    def ready() -> bool:
        ended = [process.name for process in running.all() if not process.running]
        _demand(not ended, f"{', '.join(ended)}: ended by itself")
        try:
            status, _, body = _exchange(running.gateway, "GET", "/pods", {})
        except OSError:
            return False
        return status == http.client.OK and set(json.loads(body)["ready"]) >= set(pods)

    _wait(ready, f"pods {list(pods)} do not become ready")


def _exchange(
    gateway: str, method: str, path: str, headers: Mapping[str, str]
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(gateway, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


# Telling


def _victims(answers: Answers) -> tuple[int, int]:
    """Two pods that have users."""
    pods = sorted({answer.pod for answer in answers.values()})
    _demand(len(pods) >= 2, f"all users are on pod {pods}")  # noqa: PLR2004
    return pods[1], pods[0]


def _show(now: Answers, before: Answers | None = None) -> None:
    for uid, answer in now.items():
        was = answer if before is None else before[uid]
        pod = f"pod {was.pod} → {answer.pod}" if was.pod != answer.pod else f"pod {answer.pod}"
        line = f"   {uid:8}{pod:12}{answer.count:4} requests"
        if before is not None and answer.count <= was.count:
            line += f", begins anew after {was.count}"
        if answer.attempts > 1:
            line += f"; had to ask {answer.attempts} times, for {answer.seconds:.1f} s"
        print(line, flush=True)


def _wait(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        _demand(time.monotonic() < deadline, f"{otherwise} within {PATIENCE_SECONDS:g} s")
        time.sleep(BETWEEN_SECONDS)


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unexpected(otherwise)
