"""The operator's own clock, and what is known of the API server's."""

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

STAMP_SECONDS = 1.0
"""The API server cuts the times in its objects, and in the header ``Date``, to the second."""

_BEGAN = time.time() - time.monotonic()


def steady() -> float:
    """Seconds since the epoch as the wall clock said when this process began, counted on by the monotonic clock.

    Unlike the wall clock it is never set, so that periods are measured by it.
    """
    return _BEGAN + time.monotonic()


class ServerClock:
    """How far the API server's clock is from `steady`, by the header ``Date`` of its last answer."""

    def __init__(self) -> None:
        self._last: tuple[str, float] | None = None

    def heard(self, date: str | None, now: float | None = None) -> None:
        """An answer has come, with that header (None: without); ``now``: when, by `steady`; None: this moment."""
        if date is not None:
            self._last = (date, steady() if now is None else now)

    def now(self) -> datetime | None:
        """What it shows now, to the second; None: nobody has told what it says."""
        ahead = self._ahead()
        return None if ahead is None else datetime.fromtimestamp(steady() + ahead, UTC)

    def latest(self, moment: float) -> float | None:
        """When, by `steady`, it is that late at the latest; None: nobody has told what the API server's clock says.

        Args:
            moment: A time that the API server has written, in seconds since the epoch.
        """
        ahead = self._ahead()
        return None if ahead is None else moment + STAMP_SECONDS - ahead

    def _ahead(self) -> float | None:
        """By how much it is ahead of `steady`, or up to a second more; None: nobody has told what it says."""
        if self._last is None:
            return None
        date, heard_at = self._last
        try:
            return parsedate_to_datetime(date).timestamp() - heard_at
        except ValueError:
            return None
