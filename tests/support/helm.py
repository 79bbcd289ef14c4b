"""Helm as its users call it, on one control plane."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stateful_route.devcluster.kubectl import Kubectl

REPO = Path(__file__).resolve().parents[2]
CHART = REPO / "charts" / "stateful-route"

Values = Mapping[str, Any]


class HelmFailed(Exception):  # noqa: N818  reads well in the tests
    """Helm's message."""


@dataclass(frozen=True)
class Helm:
    """Calls ``helm``; its caches lie in a folder of the tests."""

    path: Path
    kubectl: Kubectl
    home: Path
    _rendered: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, *arguments: str, values: Values | None = None, seconds: float = 60) -> str:
        """What it prints."""
        process = self.begin(*arguments, values=values)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise HelmFailed(f"helm {' '.join(arguments)}: no end within {seconds:g} s: {out}{err}") from None
        if process.returncode:
            raise HelmFailed(err + out)
        return out

    def begin(self, *arguments: str, values: Values | None = None) -> "subprocess.Popen[str]":
        """The process, for what takes its time."""
        command = [str(self.path), *arguments]
        if values:
            for name, value in values.items():
                command += ["--set-json", f"{name}={json.dumps(value)}"]
        names = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        environment = self.kubectl.environment | {name: str(self.home / name) for name in names}
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def template(
        self, values: Values | None = None, *flags: str, namespace: str = "default", release: str = "try"
    ) -> str:
        """The manifests of the chart, as text; the same ones are rendered once."""
        key = json.dumps([values, flags, namespace, release], sort_keys=True)
        if key not in self._rendered:
            command = ("template", release, str(CHART), "--namespace", namespace, *flags)
            self._rendered[key] = self(*command, values=values)
        return self._rendered[key]

    def objects(self, values: Values | None = None, **options: str) -> list[dict[str, Any]]:
        """The same, parsed."""
        return list(parsed(self.template(values, **options)))


def parsed(manifests: str) -> Iterator[dict[str, Any]]:
    """The objects of a manifest."""
    return (body for body in yaml.safe_load_all(manifests) if body)


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [body for body in objects if body["kind"] == kind]
