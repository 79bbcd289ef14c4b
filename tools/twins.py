"""Writes the synchronous twins of the data plane's asynchronous modules: ``links.py`` becomes ``links_sync.py``.

The asynchronous modules are the source. What has no colour (values, checks, constants: nothing that awaits, or uses
something that does) is not written twice: the twin imports it from its source. What cannot be translated word by word
stands in the modules of `HAND_WRITTEN`, of which somebody wrote both.

    python tools/twins.py            writes the twins
    python tools/twins.py --check    writes nothing; names those that are stale, exit code 1
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "operator"
PACKAGE = "stateful_route"

TRANSLATED = (
    "stateful_route.store.sockets",
    "stateful_route.store.discovery",
    "stateful_route.store.rest",
    "stateful_route.store.connection",
    "stateful_route.store.patience",
    "stateful_route.store.server",
    "stateful_route.store.layout",
    "stateful_route.store.counts",
    "stateful_route.store.links",
    "stateful_route.store.taking",
    "stateful_route.store.states",
    "stateful_route.store.index",
    "stateful_route.store.migrate",
    "stateful_route.store.moves",
    "stateful_route.store.reading",
    "stateful_route.store.batch",
    "stateful_route.store.placing",
    "stateful_route.store.announcing",
    "stateful_route.store.executor",
    "stateful_route.store.failed_pods",
    "stateful_route.drivers.push",
    "stateful_route.drivers.cache",
    "stateful_route.drivers.route_info",
    "stateful_route.drivers.rerouting",
    "stateful_route.drivers.holds",
    "stateful_route.drivers.client",
    "stateful_route.drivers.dispatcher",
    "stateful_route.drivers.telling",
    "stateful_route.drivers.pod",
    "stateful_route.drivers.publisher",
    "stateful_route.drivers.record_of_moves",
    "stateful_route.drivers.comparison",
    "stateful_route.drivers.handover",
    "stateful_route.drivers.chores",
    "stateful_route.drivers.upkeep",
    "stateful_route.drivers.server",
    "stateful_route.router.probes",
    "stateful_route.router.failover",
    "stateful_route.router.link_counts",
    "stateful_route.router.health",
    "stateful_route.router.failover_handler",
    "stateful_route.router.manager",
    "stateful_route.router.route",
)
HAND_WRITTEN = (
    "stateful_route.store.runtime",
    "stateful_route.store.clients",
    "stateful_route.store.pipelining",
    "stateful_route.drivers.line",
    "stateful_route.drivers.runtime",
    "stateful_route.router.runtime",
    "stateful_route.router.wire",
)

WORDS = {
    "AsyncIterator": "Iterator",
    "AsyncGenerator": "Generator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
}
Edit = tuple[tuple[int, int], tuple[int, int], str]
"""From where to where, each a line and a column, and what stands there instead."""

PHRASES = {r"\basync (with|for|iterator)\b": r"\1", r"\bAsync\b ": "", r"\bawait ": ""}


def main() -> int:
    """Write or check the twins; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when one is stale")
    check = parser.parse_args().check
    stale = []
    for name in TRANSLATED:
        path, text = path_of(twin_of(name)), formatted(Module.read(name).twin(), path_of(twin_of(name)))
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT.parent)}")
    if check and stale:
        print("run: make twins", file=sys.stderr)
    return int(check and bool(stale))


def path_of(name: str) -> Path:
    """The file of a module."""
    return ROOT / Path(*name.split(".")).with_suffix(".py")


def twin_of(name: str) -> str:
    """The name of a module's synchronous twin."""
    return f"{name}_sync"


def formatted(text: str, path: Path) -> str:
    """The text as ruff wants it: unused imports gone, the others sorted."""
    ruff = [sys.executable, "-m", "ruff"]
    for command in (
        ["check", "--quiet", "--fix-only", "--select", "F401,I001"],
        ["format", "--quiet"],
    ):
        words = [*ruff, *command, "--no-cache", "--stdin-filename", str(path), "-"]
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return text


@dataclass(frozen=True)
class Module:
    """A module and what of it has a colour.

    Attributes:
        name: Its full name.
        source: Its text.
        tree: The same, parsed.
        coloured: Its own top-level names that await, or use something that does.
        foreign: Names that it imports and that have a colour.
    """

    name: str
    source: str
    tree: ast.Module
    coloured: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)

    @classmethod
    @cache
    def read(cls, name: str) -> "Module":
        """Parse the module and find its colours."""
        source = path_of(name).read_text(encoding="utf-8")
        module = cls(name, source, ast.parse(source))
        module.foreign.update(module._foreign())
        while True:
            found = {
                defined
                for item in module.tree.body
                for defined in names(item)
                if is_asynchronous(item) or used(item) & (module.coloured | module.foreign)
            }
            if found == module.coloured:
                return module
            module.coloured.update(found)

    def twin(self) -> str:
        """The text of the synchronous twin."""
        head = [f"# Generated from {path_of(self.name).name} by tools/twins.py: change that one, then run: make twins"]
        body, shared = [], set()
        lines = self.source.splitlines(keepends=True)
        end = 0
        previous = ""
        for number, item in enumerate(self.tree.body):
            start = first_line(item)
            text, gap = "".join(lines[start : item.end_lineno]), "".join(lines[end:start])
            end = item.end_lineno or start
            if number == 0 and isinstance(item, ast.Expr):
                head.append(spoken(text))
            elif isinstance(item, (ast.Import, ast.ImportFrom)):
                head.append(self._imports(item, text))
            elif isinstance(item, ast.If):  # TYPE_CHECKING
                late = [self._imports(each, "") for each in item.body if isinstance(each, ast.ImportFrom)]
                block = "".join(f"    {line}\n" for line in "".join(late).splitlines())
                body.append(f"\nif {ast.unparse(item.test)}:\n{block}")
            elif isinstance(item, ast.Expr):  # the docstring of what stands before
                if previous == "coloured":
                    body.append(gap + text)
            elif set(names(item)) & self.coloured:
                body.append(gap + self._translated(item, text))
                previous = "coloured"
            else:
                shared.update(names(item))
                previous = "shared"
        if shared:
            head.append(f"from {self.name} import {', '.join(sorted(shared))}\n")
        return "\n".join(head) + "\n" + "".join(body)

    def _foreign(self) -> Iterator[str]:
        for item in ast.walk(self.tree):
            if not isinstance(item, ast.ImportFrom) or item.module is None:
                continue
            for alias in item.names:
                local = alias.asname or alias.name
                if (
                    item.module in HAND_WRITTEN
                    or item.module.startswith("redis.asyncio")
                    or alias.name in {*WORDS, "Awaitable"}
                    or (item.module in TRANSLATED and alias.name in Module.read(item.module).coloured)
                ):
                    yield local

    def _modules(self) -> dict[str, "Module"]:
        """The translated modules that are imported as such, by the name they have here."""
        return {
            alias.asname or alias.name: Module.read(f"{item.module}.{alias.name}")
            for item in self.tree.body
            if isinstance(item, ast.ImportFrom)
            for alias in item.names
            if f"{item.module}.{alias.name}" in TRANSLATED
        }

    def _imports(self, item: ast.Import | ast.ImportFrom, text: str) -> str:
        if isinstance(item, ast.Import) or item.module is None:
            return text
        lines = []
        for alias in item.names:
            spelt = alias.name + (f" as {alias.asname}" if alias.asname else "")
            full = f"{item.module}.{alias.name}"
            if full in TRANSLATED:
                lines += [f"from {item.module} import {spelt}", f"from {item.module} import {twin_of(alias.name)}"]
            elif item.module.startswith("redis.asyncio"):
                lines.append(f"from {item.module.replace('redis.asyncio', 'redis')} import {spelt}")
            elif item.module in HAND_WRITTEN or (
                item.module in TRANSLATED and alias.name in Module.read(item.module).coloured
            ):
                lines.append(f"from {twin_of(item.module)} import {spelt}")
            elif alias.name in WORDS:
                lines.append(f"from {item.module} import {WORDS[alias.name]}")
            else:
                lines.append(f"from {item.module} import {spelt}")
        return "\n".join(lines) + "\n"

    def _translated(self, item: ast.stmt, text: str) -> str:
        """The text of a top-level item without its colour."""
        edits: list[Edit] = []
        shift, modules = first_line(item), self._modules()
        for node in ast.walk(item):
            match node:
                case ast.Subscript(value=ast.Name(id="Awaitable"), slice=inner):
                    edits += [(at(node, shift), at(inner, shift), ""), (end_of(inner, shift), end_of(node, shift), "")]
                case ast.ImportFrom():  # a late one
                    lines = self._imports(node, "").splitlines()
                    text_of_it = f"\n{' ' * node.col_offset}".join(lines)
                    ends = ((node.end_lineno or node.lineno) - shift, node.end_col_offset or 0)
                    edits.append(((node.lineno - shift, node.col_offset), ends, text_of_it))
                case ast.Attribute(value=ast.Name(id=name)) if name in modules and node.attr in modules[name].coloured:
                    end = end_of(node.value, shift)
                    edits.append((end, end, "_sync"))
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            start, stop = token.start, token.end
            if token.type == tokenize.NAME and token.string in {"async", "await"}:
                edits.append((start, (stop[0], stop[1] + 1), ""))
            elif token.type == tokenize.NAME and token.string in WORDS:
                edits.append((start, stop, WORDS[token.string]))
            elif token.type == tokenize.STRING and token.string.startswith('"""'):
                edits.append((start, stop, spoken(token.string)))
        return edited(text, edits)


def names(item: ast.stmt) -> list[str]:
    """The names that a top-level item defines."""
    match item:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [item.name]
        case ast.Assign():
            return [target.id for target in item.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def is_asynchronous(item: ast.AST) -> bool:
    """Whether it awaits anything."""
    kinds = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    return any(
        isinstance(node, kinds) or (isinstance(node, ast.comprehension) and node.is_async) for node in ast.walk(item)
    )


def used(item: ast.AST) -> set[str]:
    """The names that an item uses, also in annotations that are texts."""
    found = {node.id for node in ast.walk(item) if isinstance(node, ast.Name)}
    for node in ast.walk(item):
        annotations = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for annotation in annotations:
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                found.update(re.findall(r"\w+", annotation.value))
    return found


def first_line(item: ast.stmt) -> int:
    """The number of lines before an item and its decorators."""
    return min([item.lineno, *(d.lineno for d in getattr(item, "decorator_list", ()))]) - 1


def at(node: ast.expr, shift: int) -> tuple[int, int]:
    """Where it begins: line (from 1) and column."""
    return node.lineno - shift, node.col_offset


def end_of(node: ast.expr, shift: int) -> tuple[int, int]:
    """Where it ends."""
    return (node.end_lineno or node.lineno) - shift, node.end_col_offset or 0


def spoken(text: str) -> str:
    """A docstring that speaks of no ``await``."""
    for pattern, instead in PHRASES.items():
        text = re.sub(pattern, instead, text)
    return text


def edited(text: str, edits: list[Edit]) -> str:
    """The text after replacements at (line, column) spans, none of which overlap."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for (line, column), (end_line, end_column), instead in sorted(edits, reverse=True):
        begin, end = starts[line - 1] + column, starts[end_line - 1] + end_column
        text = text[:begin] + instead + text[end:]
    return text


if __name__ == "__main__":
    sys.exit(main())
