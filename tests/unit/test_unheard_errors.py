"""An error that nobody waits for any more is told by whoever meets it, and is no complaint of asyncio besides."""

import asyncio
import gc
import threading

import pytest
from redis import exceptions as rx

from stateful_route.drivers.line import Line
from stateful_route.drivers.line_sync import Line as SyncLine
from stateful_route.drivers.runtime import Flights


class Breaking:
    """A connection that breaks while a command is being sent: reading fails first, sending after it."""

    def __init__(self):
        self._broken = asyncio.Event()

    async def connect(self):
        pass

    async def send_command(self, *_words):
        self._broken.set()
        await asyncio.sleep(0.01)
        raise rx.ConnectionError("sending failed")

    async def read_response(self, **_options):
        await self._broken.wait()
        raise rx.ConnectionError("reading failed")

    async def disconnect(self, **_options):
        pass


async def test_a_line_that_breaks_while_it_is_being_asked_tells_who_asks_and_nobody_else():
    said = complaints_here()
    line = Line(Breaking(), 1, lambda _channel, _message: None, lambda _line: None)
    await line.connect()
    with pytest.raises(rx.ConnectionError, match="sending failed"):
        await line.ping()
    del line
    await settled()
    assert said == []


class Closing(Breaking):
    """A connection that its reader closes while a command is being sent, as redis-py's: the sender finds None."""

    async def send_command(self, *_words):
        self._broken.set()
        await asyncio.sleep(0.01)
        None.writelines(())


async def test_a_line_that_is_closed_while_it_is_being_asked_is_a_lost_connection():
    line = Line(Closing(), 1, lambda _channel, _message: None, lambda _line: None)
    await line.connect()
    with pytest.raises(rx.ConnectionError, match="the line was closed"):
        await line.ping()
    await settled()
    assert not line.open


class ClosingSync:
    """The same for threads."""

    def __init__(self):
        self.broken = threading.Event()
        self.connections = 0

    def connect(self):
        self.connections += 1

    def send_command(self, *_words):
        self.broken.set()
        None.sendall(b"")

    def can_read(self, **_options):
        return self.broken.wait()

    def read_response(self):
        raise rx.ConnectionError("reading failed")

    def disconnect(self):
        pass


def test_a_line_of_threads_that_is_closed_while_it_is_being_asked_is_a_lost_connection():
    ended, connection = threading.Event(), ClosingSync()
    line = SyncLine(connection, 1, lambda _channel, _message: None, lambda _line: ended.set())
    line.connect()
    with pytest.raises(rx.ConnectionError, match="the line was closed"):
        line.ping()
    assert ended.wait(60)
    with pytest.raises(rx.ConnectionError, match="the line is closed"):
        line.ping()


async def test_a_line_whose_reader_finds_its_connection_closed_tells_who_asks_that_it_is_lost():
    said = complaints_here()
    connection = Closing()

    async def read_response(**_options):
        await connection._broken.wait()
        None.read()

    connection.read_response = read_response
    line = Line(connection, 1, lambda _channel, _message: None, lambda _line: None)
    await line.connect()
    with pytest.raises(rx.ConnectionError, match="the line was closed"):
        await line.ping()
    del line
    await settled()
    assert said == []


async def test_work_that_fails_when_those_who_share_it_have_given_up_tells_who_began_it_and_nobody_else():
    said = complaints_here()
    flights, fail = Flights(), asyncio.Event()

    async def work():
        await fail.wait()
        raise ValueError("no")

    first = asyncio.create_task(flights.share("key", work))
    await asyncio.sleep(0)
    second = asyncio.create_task(flights.share("key", work))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    fail.set()
    with pytest.raises(ValueError, match="no"):
        await first
    del first, second, flights
    await settled()
    assert said == []


def complaints_here():
    """What asyncio says by itself in this loop from now on."""
    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
    return said


async def settled():
    """All that was let go of is collected."""
    await asyncio.sleep(0.01)
    gc.collect()
    await asyncio.sleep(0)
