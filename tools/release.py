"""Builds what is released into dist/, and tries each thing in an empty place: ``make release-check``.

Nothing is published. Packages come from the locks alone, by their hashes. Exit code 0: all is well; 1: the step that
failed has said why.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import versions
from stateful_route.api.crd import load_crd
from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.devcluster.helm import find_helm

REPO = versions.REPO
DIST = REPO / "dist"
WORK = REPO / "build" / "release"
CHART = REPO / "charts" / "stateful-route"
STEP_SECONDS = 600
TAIL_LINES = 40


class Failed(Exception):  # noqa: N818  names the fact
    """A step's message."""


@dataclass(slots=True)
class Row:
    """One line of the table at the end."""

    step: str
    result: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Report:
    """Prints the steps as they begin and end."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Row]:
        """One step; its result is what the block writes there."""
        row = Row(name)
        print(f"{name} …", flush=True)
        began = time.monotonic()
        yield row
        row.seconds = time.monotonic() - began
        self.rows.append(row)

    def table(self) -> str:
        """All of it."""
        width = max(len(row.step) for row in self.rows)
        lines = [f"{row.step:<{width}}  {row.seconds:5.1f} s  {row.result}" for row in self.rows]
        total = sum(row.seconds for row in self.rows)
        return "\n".join([*lines, f"{'all':<{width}}  {total:5.1f} s"])


def run(*words: object, cwd: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
    """What the command prints.

    Raises:
        Failed: with the end of what it has printed.
    """
    command = [str(word) for word in words]
    # What is in this process's environment must not help: neither its packages nor its settings of pip.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STATEFUL_ROUTE_"))}
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd or WORK,
        env={**kept, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-TAIL_LINES:])
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
    return done.stdout


# Building


def build(what: str, source: Path, folder: Path) -> Path:
    """The wheel or sdist of a tree, with the tools of this environment, which are locked."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    run(sys.executable, "-m", "build", f"--{what}", "--no-isolation", "--outdir", folder, source)
    (built,) = set(folder.iterdir()) - before
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel but its record."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of files that are not in both, or not the same."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def built_from(sdist: Path) -> Path:
    """The wheel that somebody builds who has the sdist alone."""
    with tarfile.open(sdist) as archive:
        archive.extractall(WORK / "source", filter="data")
    (source,) = (WORK / "source").iterdir()
    return build("wheel", source, WORK / "again")


# Installing


def locked(lock: str, wanted: set[str]) -> str:
    """The entries of a lock for these packages, with their hashes.

    Raises:
        Failed: one is not in it.
    """
    entries = [entry.strip() for entry in re.split(r"\n(?=\S)", lock) if entry.strip()]
    by_name: dict[str, str] = {canonicalize_name(entry.partition("==")[0]): entry for entry in entries}
    if missing := wanted - by_name.keys():
        raise Failed(f"requirements.lock does not pin {', '.join(sorted(missing))}: make lock")
    return "\n".join(by_name[name] for name in sorted(wanted)) + "\n"


def needed(wheel: Path) -> set[str]:
    """What the wheel needs without any extra."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().partition("\n\n")[0].splitlines()
    asked = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    return {canonicalize_name(one.name) for one in asked if "extra" not in str(one.marker or "")}


def environment(name: str, requirements: Path, wheel: Path) -> Path:
    """A fresh environment with the locked packages and the wheel; the folder of its programs."""
    folder = WORK / name
    venv.create(folder, with_pip=False, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", folder, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-compile", "--no-deps", "--require-hashes", "-r", requirements)
    run(*pip, "install", "--quiet", "--no-compile", "--no-deps", "--no-index", wheel)
    run(*pip, "check")  # nothing that it needs is missing
    return folder / "bin"


# The steps


def try_library(wheel: Path, version: str) -> str:
    """The wheel with redis alone: what a caller's process has."""
    alone = WORK / "library.txt"
    alone.write_text(locked((REPO / "requirements.lock").read_text(encoding="utf-8"), needed(wheel)), encoding="utf-8")
    programs = environment("library", alone, wheel)
    with EmbeddedStore() as store:
        return run(programs / "python", "-I", REPO / "tools" / "smoke.py", store.url, version).strip()


def try_operator(wheel: Path, version: str) -> str:
    """The wheel with what the image has."""
    programs = environment("operator", REPO / "requirements-operator.lock", wheel)
    for name in ("stateful-route", "kubectl-stateful_route"):
        if version not in run(programs / name, "--version"):
            raise Failed(f"{name} --version does not say {version}")
    listed = run(programs / "stateful-route", "--help", variables={"COLUMNS": "100"})
    commands = [name for name in ("operator", "status", "doctor", "demo", "store") if name not in listed]
    if commands:
        raise Failed(f"stateful-route --help does not name {', '.join(commands)}")
    run(programs / "kubectl-stateful_route", "doctor", "--help")
    run(programs / "python", "-I", "-c", "import stateful_route.handlers.operator")
    return "stateful-route, kubectl-stateful_route"


def try_chart(package: Path, wheel: Path, version: str, helm: Callable[..., str]) -> str:
    """The chart as its package has it, without this tree."""
    helm("lint", "--strict", package, "--set", "redis.url=redis://store")
    rendered = helm("template", "smoke", package, "--namespace", "smoke", "--set", "redis.url=redis://store")
    objects = [body for body in yaml.safe_load_all(rendered) if body]
    crds = [body for body in objects if body["kind"] == "CustomResourceDefinition"]
    shipped = yaml.safe_load(contents(wheel)["stateful_route/crds/statefulroute.yaml"])
    if [crd["spec"] for crd in crds] != [load_crd()["spec"]] or shipped != load_crd():
        raise Failed("the CRD in the chart's package, in the wheel and in crds/ is not the same: make chart")
    images = {container["image"] for body in objects for container in containers(body)}
    if {image.rpartition(":")[2] for image in images} != {version}:
        raise Failed(f"the chart's images are {', '.join(sorted(images))}, not of {version}")
    return f"{len(objects)} objects, the CRD, {', '.join(sorted(images))}"


def containers(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a Deployment; of others none."""
    if body["kind"] != "Deployment":
        return []
    return list(body["spec"]["template"]["spec"]["containers"])


def build_docs(version: str) -> tuple[Path, str]:
    """The documentation, built without a warning, as an archive; and what is in it."""
    folder = WORK / "docs"
    flags = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--doctree-dir", WORK / "doctrees")
    run(sys.executable, "-m", "sphinx", *flags, REPO / "docs", folder, cwd=REPO)
    archive = Path(shutil.make_archive(str(DIST / f"stateful-route-docs-{version}"), "gztar", folder))
    with tarfile.open(archive) as opened:
        names = [name.removeprefix("./") for name in opened.getnames()]
        index = opened.extractfile("./index.html")
        text = (index or io.BytesIO()).read().decode()
    if f"stateful-route {version}" not in text:
        raise Failed(f"index.html of the documentation does not say stateful-route {version}")
    return archive, f"{sum(name.endswith('.html') for name in names)} pages"


def check(report: Report) -> None:
    """All steps.

    Raises:
        Failed: the message of the first that does not succeed.
    """
    version = versions.version_in(versions.read()[versions.PLACE])
    with report.step("version") as row:
        if found := versions.problems(versions.read()):
            raise Failed("\n".join(found))
        row.result = f"{version}, everywhere"
    for folder in (DIST, WORK):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with report.step("sdist") as row:
        sdist = build("sdist", REPO, DIST)
        row.result = shown(sdist)
    with report.step("wheel") as row:
        wheel = build("wheel", REPO, DIST)
        row.result = shown(wheel)
    with report.step("wheel from the sdist") as row:
        if different := differences(contents(wheel), contents(built_from(sdist))):
            raise Failed(f"the sdist builds another wheel; these differ: {', '.join(different[:20])}")
        row.result = "the same"
    with report.step("library in an empty environment") as row:
        row.result = try_library(wheel, version)
    with report.step("operator in an empty environment") as row:
        row.result = try_operator(wheel, version)
    with report.step("chart") as row:
        helm_path = find_helm(lambda line: print(line, flush=True))
        homes = {name: str(WORK / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}

        def helm(*words: object) -> str:
            return run(helm_path, *words, variables=homes)

        helm("package", CHART, "--destination", DIST)
        package = DIST / f"stateful-route-{version}.tgz"
        row.result = f"{shown(package)}: {try_chart(package, wheel, version, helm)}"
    with report.step("documentation") as row:
        archive, pages = build_docs(version)
        row.result = f"{shown(archive)}: {pages}"


def shown(path: Path) -> str:
    """Its name and size."""
    return f"{path.relative_to(REPO)} ({path.stat().st_size / 1024:,.0f} KiB)"


def main() -> int:
    """Check, and print the table."""
    report = Report()
    try:
        check(report)
    except Failed as failed:
        sys.stderr.write(f"\nnot to be released:\n{failed}\n")
        return 1
    print(f"\n{report.table()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
