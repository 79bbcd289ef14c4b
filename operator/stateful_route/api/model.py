"""What all models of this package have in common: the way they read and write the wire format."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from stateful_route.domain.names import MAX_ORDINAL


class Model(BaseModel):
    """A part of a resource: camelCase on the wire, snake case in Python, immutable.

    Fields that this version does not know are ignored: a newer CRD may have let them in. What an error says never
    repeats the value, which may be a secret.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )


def to_second(time: datetime) -> datetime:
    """``time`` in UTC without its fraction of a second, as the API server keeps times."""
    return time.astimezone(UTC).replace(microsecond=0)


def rfc3339(time: datetime) -> str:
    """``time``, an aware time, as the API server writes it: ``2026-01-31T12:00:00Z``."""
    return to_second(time).isoformat().replace("+00:00", "Z")


Time = Annotated[AwareDatetime, AfterValidator(to_second), PlainSerializer(rfc3339, when_used="json")]
"""A moment in UTC, to the second."""

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1

Int32 = Annotated[int, Field(ge=0, le=_INT32_MAX)]
"""A count or a duration; the API server refuses what does not fit 32 bits."""

Seconds = Annotated[int, Field(ge=1, le=86_400)]
"""A duration up to a day."""

Int64 = Annotated[int, Field(ge=0, le=_INT64_MAX)]
"""A count that may be large."""

Port = Annotated[int, Field(ge=1, le=65535)]

Ordinal = Annotated[int, Field(ge=0, le=MAX_ORDINAL)]
"""The number of a pod in its StatefulSet."""

ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""A DNS subdomain, as most names of Kubernetes objects are."""
