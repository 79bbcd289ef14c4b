"""The database of the tests with active users: it keeps every version that a pod has saved, or has tried to save.

A file of SQLite that all processes share. A pod that loads a user leaves its epoch, so that a former owner's saves are
refused from then on: this is the fence of the how-to page.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

TABLE = """
    CREATE TABLE IF NOT EXISTS versions (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, kind TEXT, uid TEXT, epoch INTEGER, pod TEXT,
        accepted INTEGER, changes TEXT
    )
"""
INDEX = "CREATE INDEX IF NOT EXISTS by_uid ON versions (uid, number)"
HIGHEST = "SELECT max(epoch) FROM versions WHERE uid = ? AND accepted"
LAST = "SELECT changes FROM versions WHERE uid = ? AND kind = 'save' AND accepted ORDER BY number DESC LIMIT 1"
INSERT = "INSERT INTO versions (at, kind, uid, epoch, pod, accepted, changes) VALUES (?, ?, ?, ?, ?, ?, ?)"
ALL = "SELECT number, at, kind, uid, epoch, pod, accepted, changes FROM versions ORDER BY number"


class Version(NamedTuple):
    """One line: a pod has loaded (``load``) or saved (``save``) a user's changes, or the fence has refused that."""

    number: int
    at: float
    kind: str
    uid: str
    epoch: int
    pod: str
    accepted: bool
    changes: tuple[str, ...]


class KeptVersions:
    """The table; each call is a transaction of its own, from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connected()) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(TABLE)
            database.execute(INDEX)

    def load(self, uid: str, epoch: int, pod: str) -> list[str] | None:
        """The user's changes as of the last save; None: a later owner was here, the pod must not serve the user."""
        with closing(self._connected()) as database:
            database.execute("BEGIN IMMEDIATE")
            row = database.execute(LAST, [uid]).fetchone()
            changes = [] if row is None else json.loads(row[0])
            accepted = self._add(database, "load", uid, epoch, pod, changes)
            database.execute("COMMIT")
        return changes if accepted else None

    def save(self, uid: str, epoch: int, pod: str, changes: Sequence[str]) -> bool:
        """Save them, unless a later owner has loaded or saved; whether they were saved."""
        with closing(self._connected()) as database:
            database.execute("BEGIN IMMEDIATE")
            accepted = self._add(database, "save", uid, epoch, pod, changes)
            database.execute("COMMIT")
        return accepted

    def all(self) -> list[Version]:
        """Every version, in the order in which they came."""
        with closing(self._connected()) as database:
            return [
                Version(*row[:6], accepted=bool(row[6]), changes=tuple(json.loads(row[7])))
                for row in database.execute(ALL)
            ]

    @staticmethod
    def _add(database: sqlite3.Connection, kind: str, uid: str, epoch: int, pod: str, changes: Sequence[str]) -> bool:
        highest = database.execute(HIGHEST, [uid]).fetchone()[0]
        accepted = highest is None or highest <= epoch
        text = json.dumps(list(changes), separators=(",", ":"))
        database.execute(INSERT, [time.monotonic(), kind, uid, epoch, pod, accepted, text])
        return accepted

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
        database.execute("PRAGMA synchronous = OFF")  # no test pulls the plug of the machine
        return database
