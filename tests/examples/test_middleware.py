"""What the examples' middlewares do about users that have moved, pods that have died, and a store that is away."""

import asyncio
import threading
import time

import pytest

from stateful_route.devcluster import EmbeddedStore
from stateful_route.domain.routing import LinkAction
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.states import get_hints
from support.scripted_pods import Reply, StagedService
from support.waiting import eventually

ADA = {"X-User-Id": "ada"}


async def test_a_request_reaches_the_pod_of_its_user_as_it_was_sent(front, staged, pods):
    await staged.link("ada", 1)
    pods[1].reply = lambda _: Reply(201, b"made", {"X-Answer": "42"})
    ask = await front()
    answer = await ask(
        "POST",
        "/things/a%20b?x=1&y=%2F",
        content=b"body",
        headers=ADA | {"Content-Type": "text/x-test", "X-Forwarded-For": "198.51.100.1"},
    )
    assert (answer.status_code, answer.content, answer.headers["X-Answer"]) == (201, b"made", "42")
    (asked,) = pods[1].asked
    assert (asked.method, asked.target, asked.body) == ("POST", "/things/a%20b?x=1&y=%2F", b"body")
    assert (asked.headers["x-user-id"], asked.headers["content-type"]) == ("ada", "text/x-test")
    assert asked.headers["x-forwarded-proto"] == "http"
    assert pods[0].asked == []


async def test_a_path_does_not_say_which_host_is_asked(front, staged, pods):
    await staged.link("ada", 1)
    ask = await front()
    for target in ("/a/../b?c=/../d", "/@127.0.0.2/x", "@127.0.0.2/x", "http://127.0.0.2/x"):
        answer = await ask("GET", "/", headers=ADA, extensions={"target": target.encode()})
        if answer.status_code != 400:  # no server has to take the last two
            assert (answer.content, pods[1].asked[-1].target) == (b"pod 1", target)


async def test_all_requests_of_a_new_user_go_to_one_pod(front, staged, pods):
    ask = await front()
    answers = {(await ask("GET", "/", headers=ADA)).content for _ in range(5)}
    assert len(answers) == 1
    assert sorted(len(pod.asked) for pod in pods) == [0, 5]


@pytest.mark.parametrize(("path", "uid"), [("/users/ada/count", "ada"), ("/users/jos%C3%A9/x", "josé")])
async def test_the_user_may_be_named_in_the_path(front, staged, pods, path, uid):
    await staged.link(uid, 1)
    ask = await front(uid="path")
    assert (await ask("GET", path)).content == b"pod 1"
    assert pods[1].asked[0].target == path


async def test_a_header_may_name_a_user_in_any_script(front, staged):
    await staged.link("josé", 1)
    ask = await front()
    assert (await ask("GET", "/", headers={"X-User-Id": "josé".encode()})).content == b"pod 1"


async def test_a_request_that_is_nobodys_is_the_applications(front, staged, pods):
    ask = await front()
    assert (await ask("GET", "/health")).content == b"own /health"
    assert [pod.asked for pod in pods] == [[], []]


async def test_headers_about_one_connection_are_not_passed_on(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].reply = lambda _: Reply(headers={"Connection": "close, X-Mine", "X-Mine": "1", "Keep-Alive": "timeout=5"})
    ask = await front()
    answer = await ask("GET", "/", headers=ADA | {"Connection": "X-Hop", "X-Hop": "1", "TE": "trailers", "X-End": "2"})
    (asked,) = pods[0].asked
    assert asked.headers["x-end"] == "2"
    assert not {"x-hop", "te"} & set(asked.headers)
    assert not {"connection", "keep-alive", "x-mine"} & set(answer.headers)


async def test_a_pod_learns_who_has_asked(front, staged, pods):
    await staged.link("ada", 0)
    ask = await front()
    await ask("GET", "/", headers=ADA)
    await ask("GET", "/", headers=ADA | {"X-Forwarded-For": "198.51.100.1"})
    assert pods[0].asked[0].headers["x-forwarded-for"] == "127.0.0.1"
    assert pods[0].asked[1].headers["x-forwarded-for"] == "198.51.100.1, 127.0.0.1"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_answer_arrives_whole(front, staged, pods, chunked):
    body = bytes(range(256)) * 4096
    pods[0].reply = pods[1].reply = lambda _: Reply(body=body, chunked=chunked)
    ask = await front()
    assert (await ask("GET", "/", headers=ADA)).content == body


async def test_an_answer_is_passed_on_as_it_is_encoded(front, staged, pods):
    pods[0].reply = pods[1].reply = lambda _: Reply(body=b"no gzip at all", headers={"Content-Encoding": "x-mine"})
    ask = await front()
    answer = await ask("GET", "/", headers=ADA | {"Accept-Encoding": "x-mine"})
    assert (answer.content, answer.headers["Content-Encoding"]) == (b"no gzip at all", "x-mine")
    assert next(pod.asked for pod in pods if pod.asked)[0].headers["accept-encoding"] == "x-mine"


async def test_a_head_request_has_a_head_for_an_answer(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].reply = lambda _: Reply(body=b"twelve bytes")
    ask = await front()
    answer = await ask("HEAD", "/", headers=ADA)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "12", b"")


# Users that have moved


async def test_after_421_the_users_new_pod_is_asked(front, staged, pods):
    await staged.link("ada", 0)
    ask = await front()
    assert (await ask("GET", "/", headers=ADA)).content == b"pod 0"
    await staged.link("ada", 1)  # and nobody has told the gateway
    pods[0].reply = lambda _: Reply(421)
    answer = await ask("POST", "/x", headers=ADA, content=b"once")
    assert (answer.status_code, answer.content) == (200, b"pod 1")
    assert [asked.body for asked in pods[1].asked] == [b"once"]
    assert (await ask("GET", "/", headers=ADA)).content == b"pod 1"
    assert len(pods[0].asked) == 2


async def test_a_pod_that_does_not_say_why_is_asked_again_after_a_moment(front, staged, pods):
    """It has saved the user, and the link will be gone."""
    await staged.link("ada", 0)
    await staged.say("DENY_NEW_CALL", "READY")
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def misdirected(_):
        loop.call_soon_threadsafe(refused.set)
        return Reply(421)

    async def give_away():
        await refused.wait()
        await staged.unlink("ada")

    pods[0].reply = misdirected
    ask = await front(pause_seconds=1.0)
    giving_away = asyncio.create_task(give_away())
    assert (await ask("POST", "/", headers=ADA)).content == b"pod 1"
    await giving_away


async def test_a_user_whose_save_takes_its_time_is_waited_for(front, staged, pods):
    """The pod says so by Retry-After; without it, two attempts would have been all."""
    await staged.link("ada", 0)
    await staged.say("DENY_NEW_CALL", "READY")
    loop, saved = asyncio.get_running_loop(), asyncio.Event()

    def in_transit(_):
        if len(pods[0].asked) == 6:
            loop.call_soon_threadsafe(saved.set)
        return Reply(421, headers={"Retry-After": "1"})

    async def give_away():
        await saved.wait()
        await staged.unlink("ada")

    pods[0].reply = in_transit
    ask = await front(pause_seconds=0.1)
    giving_away = asyncio.create_task(give_away())
    answer = await ask("POST", "/", headers=ADA, content=b"once")
    await giving_away
    assert (answer.status_code, answer.content) == (200, b"pod 1")
    assert [asked.body for asked in pods[1].asked] == [b"once"]
    assert len(pods[0].asked) >= 6


async def test_a_user_who_is_given_away_for_too_long_is_asked_to_come_back(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].reply = lambda _: Reply(421, headers={"Retry-After": "1"})
    ask = await front(pause_seconds=0.05, transit_seconds=0.3)
    began = time.monotonic()
    answer = await ask("GET", "/", headers=ADA)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert 0.3 <= time.monotonic() - began < 5
    assert 3 <= len(pods[0].asked) <= 10
    assert pods[1].asked == []


async def test_a_user_whom_no_pod_wants_to_have_is_asked_to_come_back(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].reply = lambda _: Reply(421)
    ask = await front(pause_seconds=0.01, retry_after_seconds=7)
    answer = await ask("GET", "/", headers=ADA)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert "pod 0 does not have 'ada'" in answer.text
    assert [len(pod.asked) for pod in pods] == [2, 0]


# Pods that have died, or are slow


async def test_a_dead_pods_user_is_asked_to_come_back_and_the_operator_is_told(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].close()
    ask = await front(pause_seconds=0.01)
    answer = await ask("POST", "/", headers=ADA)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert pods[1].asked == [], "one gateway's bad network moves nobody"
    assert list(await get_hints(await staged.executor.store(), staged.target)) == [0]


async def test_a_user_whose_pod_is_found_dead_meanwhile_gets_another_one_within_the_same_request(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].close()

    async def operator():
        store = await staged.executor.store()
        await eventually(lambda: get_hints(store, staged.target), bool, "a hint")
        await staged.say("SHUTDOWN", "READY", links=LinkAction.MOVE)

    looking = asyncio.create_task(operator())
    ask = await front(pause_seconds=1.0)
    answer = await ask("POST", "/", headers=ADA)
    await looking
    assert (answer.status_code, answer.content) == (200, b"pod 1")


async def test_new_users_are_kept_from_a_pod_that_cannot_be_reached(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].close()
    ask = await front(pause_seconds=0.01)
    assert (await ask("GET", "/", headers=ADA)).status_code == 503
    for number in range(4):
        assert (await ask("GET", "/", headers={"X-User-Id": f"user-{number}"})).content == b"pod 1"


async def test_what_a_pod_may_have_done_already_is_not_asked_twice(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].reply = lambda _: None
    ask = await front(pause_seconds=0.01)
    answer = await ask("POST", "/", headers=ADA)
    assert answer.status_code == 502
    assert "Retry-After" not in answer.headers
    assert len(pods[0].asked) == 1


async def test_what_does_no_harm_twice_is_asked_again_when_a_pod_breaks_off(front, staged, pods):
    await staged.link("ada", 0)
    pods[0].reply = lambda _: None if len(pods[0].asked) == 1 else Reply(body=b"at last")
    ask = await front(pause_seconds=0.01)
    assert (await ask("GET", "/", headers=ADA)).content == b"at last"


async def test_a_pod_that_does_not_answer_is_given_up_at_the_deadline(front, staged, pods):
    await staged.link("ada", 0)
    over = threading.Event()
    pods[0].reply = lambda _: Reply() if over.wait(30) else None
    ask = await front(deadline_seconds=0.5)
    began = time.monotonic()
    try:
        answer = await ask("GET", "/", headers=ADA)
    finally:
        over.set()
    assert answer.status_code == 504
    assert 0.4 < time.monotonic() - began < 5


# Requests that cannot be forwarded


@pytest.mark.parametrize("uid", [b"a{b}", b"", b"x" * 1025, b"\xff\xfe"])
async def test_what_cannot_be_a_uid_is_a_bad_request(front, staged, pods, uid):
    ask = await front()
    answer = await ask("GET", "/", headers={"X-User-Id": uid})
    assert answer.status_code == 400
    assert [pod.asked for pod in pods] == [[], []]


async def test_a_body_that_is_too_long_is_refused(front, staged, pods):
    ask = await front(max_body_bytes=1000)
    assert (await ask("POST", "/", headers=ADA, content=b"x" * 1000)).status_code == 200
    answer = await ask("POST", "/", headers=ADA, content=b"x" * 1001)
    assert answer.status_code == 413
    assert sum(len(pod.asked) for pod in pods) == 1


async def test_without_a_pod_that_takes_users_new_ones_are_asked_to_come_back(front, staged, pods):
    await staged.say("SHUTDOWN", "DENY_NEW_CALL")
    ask = await front()
    answer = await ask("GET", "/", headers=ADA)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "0 SHUTDOWN, 1 DENY_NEW_CALL" in answer.text


async def test_while_the_store_is_away_known_users_are_served_and_others_asked_to_come_back(front, pods):
    with EmbeddedStore() as store:
        async with StatefulExecutor.from_url(store.url) as executor:
            staged = StagedService(executor, "games", "room", pods)
            await staged.say("READY", "READY")
            await staged.link("ada", 1)
            ask = await front(store.url)
            assert (await ask("GET", "/", headers=ADA)).content == b"pod 1"
        store.kill()
        assert (await ask("GET", "/", headers=ADA)).content == b"pod 1"
        answer = await ask("GET", "/", headers={"X-User-Id": "bob"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        pods[1].close()
        assert (await ask("GET", "/", headers=ADA)).status_code == 503
