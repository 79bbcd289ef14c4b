"""One Lease of Kubernetes: read, written only over what was read. It takes ``get``, ``create`` and ``patch``."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stateful_route.domain.leadership import LeaseRecord
from stateful_route.kube.client import Kube, KubeError

API = "coordination.k8s.io/v1"
ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def account_namespace(path: Path = ACCOUNT_NAMESPACE) -> str | None:
    """The namespace of the ServiceAccount that this pod runs as; None outside of a pod."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Lease:
    """The Lease of that name; each request ends within ``request_seconds``."""

    kube: Kube
    namespace: str
    name: str
    request_seconds: float

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    async def read(self) -> LeaseRecord | None:
        """What it says; None: there is none.

        Raises:
            KubeError: see there.
        """
        try:
            return lease_record(await self._in_time(self.kube.get(f"{self._folder}/{self.name}")))
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Make it say this, unless somebody has written it since ``record.version`` (empty: has made it); as stored.

        Raises:
            KubeError: ``conflict`` when somebody has; else see there. Without an answer it may have been written.
        """
        spec = {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": record.seconds,
            "leaseTransitions": record.transitions,
            "acquireTime": _stamp(record.acquired),
            "renewTime": _stamp(record.renewed),
        }
        if not record.version:
            body = {"apiVersion": API, "kind": "Lease", "metadata": {"name": self.name}, "spec": spec}
            return lease_record(await self._in_time(self.kube.create(self._folder, body)))
        patch = {"metadata": {"resourceVersion": record.version}, "spec": spec}
        return lease_record(await self._in_time(self.kube.merge(f"{self._folder}/{self.name}", patch)))

    @property
    def _folder(self) -> str:
        return f"/apis/{API}/namespaces/{self.namespace}/leases"

    async def _in_time(self, request: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.request_seconds):
                return await request
        except TimeoutError as error:
            raise KubeError(0, f"no answer about Lease {self} within {self.request_seconds:g} s") from error


def lease_record(body: Mapping[str, Any]) -> LeaseRecord:
    """What a Lease's body says."""
    spec = body.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        seconds=int(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=_moment(spec.get("acquireTime")),
        renewed=_moment(spec.get("renewTime")),
        version=str(body["metadata"]["resourceVersion"]),
    )


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
