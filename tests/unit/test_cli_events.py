"""How ``stateful-route events`` words what a service's streams tell."""

from stateful_route.cli.inspect import events
from stateful_route.store.streams import LinksMoved
from support.resources import route


def test_a_purge_is_no_move_of_nothing():
    line = events._line(route("room", "games"), LinksMoved(0.0, -1, {}, "Purged"), 8)
    assert line.plain.endswith("nobody    all links deleted  (Purged)")
