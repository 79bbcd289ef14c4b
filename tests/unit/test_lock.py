"""requirements.lock pins all that is installed, by version and hash, and names no address: it fits every index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parents[2]
LOCK = (REPO / "requirements.lock").read_text()
ENTRIES = [entry.strip() for entry in LOCK.replace("\\\n", " ").splitlines() if entry.strip()]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
OURSELVES = "stateful-route"

PINNED = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)( ; (?P<marker>[^-]+?))?(\s+--hash=sha256:[0-9a-f]{64})+"
)


def locked() -> dict[str, str]:
    return {match["name"]: match["version"] for entry in ENTRIES if (match := PINNED.fullmatch(entry))}


def asked() -> list[Requirement]:
    project = PROJECT["project"]
    texts = [*PROJECT["build-system"]["requires"], *project["dependencies"]]
    texts += [text for extra in project["optional-dependencies"].values() for text in extra]
    return [wanted for text in texts if (wanted := Requirement(text)).name != OURSELVES]


def test_no_address_is_in_it():
    assert "://" not in LOCK
    assert " @ " not in LOCK


@pytest.mark.parametrize(
    "option", ["--index-url", "--extra-index-url", "--find-links", "--trusted-host", "--editable", "-r "]
)
def test_no_option_says_where_to_look(option):
    assert option not in LOCK


def test_every_entry_is_one_version_with_hashes():
    assert [entry[:60] for entry in ENTRIES if not PINNED.fullmatch(entry)] == []
    assert len(ENTRIES) > 40


def test_no_name_is_there_twice():
    names = [entry.partition("==")[0] for entry in ENTRIES]
    assert sorted(set(names)) == names


@pytest.mark.parametrize("wanted", asked(), ids=str)
def test_what_pyproject_asks_for_is_locked_at_a_version_that_it_allows(wanted):
    found = locked().get(canonicalize_name(wanted.name))
    assert found is not None, f"{wanted.name} is not in requirements.lock: make lock"
    assert wanted.specifier.contains(found), f"{wanted} does not allow {found}: make lock"


def test_the_deprecated_asynchronous_client_is_not_in_it():
    assert [name for name in locked() if name.replace("-", "_").startswith("kubernetes_async")] == []


def test_we_are_not_in_it_ourselves():
    assert OURSELVES not in locked()
