"""The latest migration, as the status tells of it while it goes on and afterwards."""

from collections.abc import Collection
from datetime import UTC, datetime

from stateful_route.api.model import to_second
from stateful_route.api.status import LastMigration
from stateful_route.domain.routing import LinkAction
from stateful_route.reconcile.migrations import Outcome


class History:
    """One that is interrupted (a restart of the operator, the store away, no target) goes on where it left off."""

    def __init__(self, workload: str, latest: LastMigration | None) -> None:
        self._workload = workload
        self.latest = latest
        self._begun: dict[tuple[int, str], LastMigration] = {}
        if latest is not None and latest.completion_time is None:
            self._begun[latest.ordinal, latest.reason] = latest

    def note(self, outcome: Outcome, *, running: bool) -> None:
        """Take in how far a migration has come, or how it has ended."""
        key = (outcome.source, str(outcome.order.reason))
        begun = self._begun.get(key)
        if outcome.order.action is LinkAction.STAY or not (outcome.progress.total or begun):
            return
        started = datetime.fromtimestamp(outcome.started, UTC)
        complete = outcome.complete and not running
        self.latest = LastMigration(
            pod=f"{self._workload}-{outcome.source}",
            ordinal=outcome.source,
            reason=outcome.order.reason,
            moved=outcome.progress.total + (begun.moved if begun else 0),
            left=None if complete else outcome.left or None,
            start_time=begun.start_time if begun else started,
            completion_time=datetime.fromtimestamp(outcome.ended, UTC) if complete else None,
        )
        if complete:
            self._begun.pop(key, None)
        elif not running:
            self._begun[key] = self.latest

    def close(self, wanted: Collection[int], now: datetime) -> None:
        """Only the links of the ``wanted`` ordinals have to move still: what was begun of others is over."""
        self._begun = {key: begun for key, begun in self._begun.items() if key[0] in wanted}
        latest = self.latest
        if latest is not None and latest.completion_time is None and latest.ordinal not in wanted:
            self.latest = latest.model_copy(update={"left": None, "completion_time": to_second(now)})
