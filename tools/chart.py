"""Writes what the Helm chart takes from elsewhere: the CRD, the version, and the table of values in its README.

python tools/chart.py            writes them
python tools/chart.py --check    writes nothing; names those that are stale, exit code 1
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from versions import PLACE, version_in

REPO = Path(__file__).resolve().parent.parent
CHART = REPO / "charts" / "stateful-route"
CRD = "statefulroute.yaml"
TABLE = re.compile(r"(?<=<!-- values -->\n).*?(?=<!-- /values -->)", re.DOTALL)


def leaves(schema: Mapping[str, Any], values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, str]]:
    """The values that a user sets: dotted name, default and description, in the schema's order."""
    for name, property_ in schema["properties"].items():
        full = f"{path}{name}"
        if name not in values:  # ``global``, which Helm itself brings
            continue
        if "properties" in property_:
            yield from leaves(property_, values[name], f"{full}.")
        else:
            yield full, values[name], property_["description"]


def table() -> str:
    """The values as a table of Markdown."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    rows = [
        f"| `{name}` | `{json.dumps(default, ensure_ascii=False)}` | {description.replace('|', chr(92) + '|')} |\n"
        for name, default, description in leaves(schema, values)
    ]
    return "".join(["\n| value | default | meaning |\n", "| --- | --- | --- |\n", *rows, "\n"])


def wanted() -> dict[Path, str]:
    """Each file that is written, and its text."""
    version = version_in((REPO / PLACE).read_text(encoding="utf-8"))
    chart = (CHART / "Chart.yaml").read_text(encoding="utf-8")
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    if TABLE.search(readme) is None:
        raise SystemExit(f"{CHART / 'README.md'} has no <!-- values --> … <!-- /values -->")
    return {
        CHART / "files" / "crds" / CRD: (REPO / "crds" / CRD).read_text(encoding="utf-8"),
        CHART / "Chart.yaml": re.sub(r"^(version|appVersion): .*$", rf"\1: {version}", chart, flags=re.MULTILINE),
        CHART / "README.md": TABLE.sub(lambda _: table(), readme),
    }


def main() -> int:
    """Write, or with ``--check`` only compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when something is stale")
    check = parser.parse_args().check
    stale = {path: text for path, text in wanted().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        print(path.relative_to(REPO))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write("stale: make chart\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
