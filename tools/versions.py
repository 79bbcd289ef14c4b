"""The version stands in one place, ``stateful_route.__version__``; what else names it must say the same.

python tools/versions.py         names what does not agree; exit code 1
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parent.parent
PLACE = "operator/stateful_route/__init__.py"
CHANGELOG = "CHANGELOG.md"
CHART = "charts/stateful-route/Chart.yaml"
DOCUMENTS = ("README.md", "docs/how-to/install.md")

RELEASE = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
"""What may be released: for Python and for Helm alike, so without a local part."""

ENTRY = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\S+))?[ ]*$", re.MULTILINE)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
TAG = re.compile(r"\bstateful-route:(\d[\w.+-]*)")
UNRELEASED = "Unreleased"


def version_in(text: str) -> str:
    """The version in the package's ``__init__.py``.

    Raises:
        SystemExit: it has none.
    """
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{PLACE} has no __version__")
    return found[1]


def changelog_problems(text: str, version: str) -> Iterator[str]:
    """What the changelog lacks for a release of ``version``."""
    heads = list(ENTRY.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    entries = [(head, text[head.end() : end].strip()) for head, end in zip(heads, ends, strict=bool(heads))]
    named = [(head, body) for head, body in entries if head["name"] != UNRELEASED]
    if any(body for head, body in entries if head["name"] == UNRELEASED):
        yield (
            f"{CHANGELOG} has lines under [{UNRELEASED}]: move them under '## [{version}] - <date>', or raise "
            f"__version__ in {PLACE} and give them an entry of their own"
        )
    if not named or named[0][0]["name"] != version:
        top = f"its top entry is {named[0][0]['name']}" if named else "it has none of any version"
        yield f"{CHANGELOG} has no entry for {version} ({top}): write '## [{version}] - <date>' and what has changed"
        return
    head, body = named[0]
    if not DATE.fullmatch(head["date"] or ""):
        yield f"{CHANGELOG}: the entry of {version} has no date: '## [{version}] - YYYY-MM-DD'"
    if not body:
        yield f"{CHANGELOG}: the entry of {version} is empty"


def problems(texts: Mapping[str, str]) -> list[str]:
    """All that does not agree; ``texts``: the files by their path in the tree."""
    version = version_in(texts[PLACE])
    found = []
    if not RELEASE.fullmatch(version):
        found.append(f"{PLACE}: {version!r} is no version to release: 1.2.3, or 1.2.3rc1")
    chart = yaml.safe_load(texts[CHART])
    found += [
        f"{CHART}: {name} is {chart.get(name)}, not {version}: make chart"
        for name in ("version", "appVersion")
        if str(chart.get(name)) != version
    ]
    found += changelog_problems(texts[CHANGELOG], version)
    for path in DOCUMENTS:
        others = sorted({tag for tag in TAG.findall(texts[path]) if tag != version})
        found += [f"{path} names the image stateful-route:{tag}, not :{version}" for tag in others]
    return found


def read() -> dict[str, str]:
    """The files of this tree that name the version."""
    return {path: (REPO / path).read_text(encoding="utf-8") for path in (PLACE, CHART, CHANGELOG, *DOCUMENTS)}


def main() -> int:
    """Compare, and tell."""
    found = problems(read())
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
