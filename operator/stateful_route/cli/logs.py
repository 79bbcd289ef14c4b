"""Log lines: one for each decision, as text for people or as JSON for machines."""

import logging
import sys
from enum import StrEnum

from pythonjsonlogger.json import JsonFormatter

OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class TextFormatter(logging.Formatter):
    """``time LEVEL message name=value …``, with what the caller gave as ``extra``."""

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """The line without its traceback."""
        text = super().formatMessage(record)
        fields = {
            name: value for name, value in record.__dict__.items() if name not in OWN_FIELDS and value is not None
        }
        return " ".join([text, *(f"{name}={_shown(value)}" for name, value in fields.items())])


def set_up(form: LogFormat, level: str) -> None:
    """Send all log lines to stderr; kopf's own only from WARNING on, unless everything is asked for."""
    handler = logging.StreamHandler(sys.stderr)
    fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
    names = {"asctime": "time", "levelname": "level", "name": "logger"}
    json_form = JsonFormatter(fields, rename_fields=names, json_default=str)
    handler.setFormatter(TextFormatter() if form is LogFormat.TEXT else json_form)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level.upper() != "DEBUG":
        for name in ("kopf", "aiohttp", "asyncio"):
            logging.getLogger(name).setLevel(logging.WARNING)


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text
