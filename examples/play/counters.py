"""What stands in for the application's database: how many requests each user has made, as of the last save."""

import sqlite3
from contextlib import closing
from pathlib import Path

TABLE = "CREATE TABLE IF NOT EXISTS counters (uid TEXT PRIMARY KEY, count INTEGER NOT NULL, epoch INTEGER NOT NULL)"

SAVE = """\
INSERT INTO counters VALUES (:uid, :count, :epoch)
ON CONFLICT (uid) DO UPDATE SET count = excluded.count, epoch = excluded.epoch WHERE excluded.epoch >= epoch"""
"""The last condition is the fence: a pod that has lost the user, and does not know yet, has a lower epoch."""


class Counters:
    """A table in a file that all pods share; any other database does it with the same two statements."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connected()) as database, database:
            database.execute(TABLE)

    def load(self, uid: str) -> int:
        """The user's count when it was last saved; 0: it never was."""
        with closing(self._connected()) as database:
            row = database.execute("SELECT count FROM counters WHERE uid = ?", [uid]).fetchone()
        return 0 if row is None else int(row[0])

    def save(self, uid: str, count: int, epoch: int) -> bool:
        """Save it, unless a later owner has; ``epoch``: since when the user is the pod's. Whether it was saved."""
        with closing(self._connected()) as database, database:
            return database.execute(SAVE, {"uid": uid, "count": count, "epoch": epoch}).rowcount == 1

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=5.0)
