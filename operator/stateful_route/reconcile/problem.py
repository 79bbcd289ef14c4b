"""What keeps a StatefulRoute from being served, in the words of its condition Stalled."""

from stateful_route.api.conditions import Reason
from stateful_route.domain.errors import StatefulRouteError


class Problem(StatefulRouteError):  # noqa: N818  it is a state of affairs, shown to the user
    """A StatefulRoute cannot be served as it stands; the message names the thing and the way out.

    Attributes:
        reason: The condition's reason.
        of_the_store: Whether it is that nobody knows which store to use, so that RedisConnected is False, too.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.of_the_store = reason in {Reason.SECRET_NOT_FOUND, Reason.INVALID_URL}
