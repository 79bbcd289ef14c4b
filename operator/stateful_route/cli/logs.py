"""Log lines: one for each decision, as text for people or as JSON for machines."""

import logging
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as JsonLogger

KOPF_FIELDS = frozenset({"settings", "k8s_skip", "k8s_ref"})
"""What kopf hands to its own handlers with each line about an object."""

SAID_SECONDS = 600.0

OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"} | KOPF_FIELDS


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """From which severity on lines are written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class TextFormatter(logging.Formatter):
    """``time LEVEL message name=value …``, with what the caller gave as ``extra``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """The time of the record, in UTC."""
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """The line without its traceback."""
        text = super().formatMessage(record)
        fields = {
            name: value for name, value in record.__dict__.items() if name not in OWN_FIELDS and value is not None
        }
        return " ".join([text, *(f"{name}={_quoted(value)}" for name, value in fields.items())])


class JsonFormatter(JsonLogger):
    """One JSON object in a line: time, level, logger, message, and what the caller gave as ``extra``."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            reserved_attrs=[*RESERVED_ATTRS, *KOPF_FIELDS],
            json_default=_shown,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """The time of the record, in UTC."""
        return _time(record)

    def jsonify_log_record(self, log_data: Mapping[str, Any]) -> str:
        """The line; what has no JSON form, such as a mapping with tuples for keys, is written as text."""
        try:
            return super().jsonify_log_record(dict(log_data))
        except (TypeError, ValueError):
            return super().jsonify_log_record({name: _shown(value) for name, value in log_data.items()})


class Unrepeated(logging.Filter):
    """Lets each failure of kopf's requests through once in ten minutes: it repeats them until they succeed."""

    def __init__(self) -> None:
        super().__init__()
        self._until: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what has just been said."""
        text = record.getMessage() if record.name.startswith("kopf.") else ""
        if not text.startswith("Request attempt"):
            return True
        text = re.sub(r"#\d+(/\d+)?|resourceVersion=\d+", "", text)
        now = time.monotonic()
        if now < self._until.get(text, 0.0):
            return False
        self._until = {said: until for said, until in self._until.items() if now < until} | {text: now + SAID_SECONDS}
        return True


def set_up(form: LogFormat, level: LogLevel) -> None:
    """Send all log lines to stderr; kopf's own only from WARNING on, unless everything is asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Unrepeated())
    handler.setFormatter(TextFormatter() if form is LogFormat.TEXT else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level.upper() != LogLevel.DEBUG:
        for name in ("kopf", "aiohttp", "asyncio"):
            logging.getLogger(name).setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  a line is never lost for one of its values
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def _quoted(value: object) -> str:
    text = _shown(value)
    return text if text.isprintable() and text and not set(text) & set(" \"'=") else repr(text)
