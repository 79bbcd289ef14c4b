"""The custom resource StatefulRoute as the operator reads it."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from stateful_route.api.model import Model, Time
from stateful_route.api.spec import StatefulRouteSpec
from stateful_route.api.status import StatefulRouteStatus
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.workload_ref import WorkloadRef

GROUP = "statefulroute.io"
VERSION = "v1alpha1"
KIND = "StatefulRoute"
PLURAL = "statefulroutes"


class InvalidResource(StatefulRouteError, ValueError):  # noqa: N818  names the fact, as the package's other errors
    """A stored object does not fit these models: an older or foreign CRD let it in.

    Attributes:
        problems: what is wrong, by the path of the field (``spec.links.temporaryTTLSeconds``); no values, which may be
            secret.
    """

    def __init__(self, resource: str, problems: Mapping[str, str]) -> None:
        listed = "; ".join(f"{path}: {problem}" for path, problem in problems.items())
        super().__init__(
            f"{KIND} {resource} does not fit this operator: {listed}. Apply the operator's CRD, then the fix"
        )
        self.problems = dict(problems)


class Metadata(Model):
    """What the API server knows of every object, as far as it matters here."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str
    deletion_timestamp: Time | None = None
    finalizers: tuple[str, ...] = ()
    annotations: dict[str, str] = Field(default_factory=dict)


class StatefulRoute(Model):
    """One resource at one resource version."""

    metadata: Metadata
    spec: StatefulRouteSpec = StatefulRouteSpec()
    status: StatefulRouteStatus = StatefulRouteStatus()

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """The resource in ``body``, an object as the API server gives it. A status that does not fit counts as none.

        Raises:
            InvalidResource: a field is missing or outside its bounds; the error names each one with its path.
        """
        try:
            return cls.model_validate(dict(body))
        except ValidationError as error:
            metadata = body.get("metadata") or {}
            name = f"{metadata.get('namespace', '?')}/{metadata.get('name', '?')}"
            raise InvalidResource(name, dict(map(_problem, error.errors(include_input=False)))) from None

    @property
    def service_name(self) -> str:
        """The name under which links and states are kept."""
        return self.spec.service_name or self.metadata.name

    @property
    def workload_name(self) -> str:
        """The name of the workload."""
        return self.spec.workload_ref.name or self.metadata.name

    @property
    def workload(self) -> WorkloadRef:
        """The workload whose pods are routed."""
        group, _, version = self.spec.workload_ref.api_version.partition("/")
        return WorkloadRef(self.workload_name, group, version, self.spec.workload_ref.kind)

    @field_validator("status", mode="wrap")
    @classmethod
    def _forget_an_unfit_status(cls, value: Any, parse: ValidatorFunctionWrapHandler) -> StatefulRouteStatus:
        """Only the operator writes the status: one of another version must not keep it from writing a new one."""
        try:
            status: StatefulRouteStatus = parse(value)
        except ValidationError:
            return StatefulRouteStatus()
        return status


def former_status(body: Mapping[str, Any]) -> StatefulRouteStatus:
    """The status in ``body``, an object that may not fit otherwise; an empty one where it does not fit."""
    try:
        return StatefulRouteStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return StatefulRouteStatus()


def _problem(error: Mapping[str, Any]) -> tuple[str, str]:
    """Path and text of one error of pydantic, whose own marks (a map's key, a validator's prefix) nobody needs."""
    path = ".".join(str(step) for step in error["loc"] if step != "[key]")
    return path, str(error["msg"]).removeprefix("Value error, ")
