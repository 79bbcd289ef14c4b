"""How Sphinx builds these pages: ``make docs``, without a warning and without the network."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import stateful_route

project = "stateful-route"
author = "the stateful-route authors"
copyright = author  # noqa: A001  Sphinx reads this name
release = version = stateful_route.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py"]
nitpicky = True
show_warning_types = True

# Markdown that is right on GitHub, too: its anchors of headings, and links to folders, which are no pages here.
myst_heading_anchors = 4
nitpick_ignore_regex = [("myst", r"(\.\./)+[\w/]+/")]

# Docstrings put names into single backticks: those that are documented here become links, the others plain code.
default_role = "py:obj"
napoleon_use_rtype = False
napoleon_use_ivar = True
# "Raises, every operation that is awaited" in a class; napoleon wants the names of sections, without a comma.
napoleon_custom_sections = [
    (f"Every operation{which} raises", "params_style") for which in ("", " that asks the store", " that is awaited")
]
autodoc_default_options = {"member-order": "bysource"}
autoclass_content = "both"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

HIDDEN_COLON = "\ue000"  # of the private use area: no docstring has it

html_theme = "furo"
html_title = f"stateful-route {release}"
html_copy_source = False
html_show_sphinx = False


def find_by_last_name(app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.Element) -> nodes.Node | None:
    """A name without its module is the one documented thing of that name, or just a name, without a link.

    A name of ours in a signature must be documented: None lets Sphinx say so.
    """
    target = str(node.get("reftarget", "")).removesuffix("()")
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    last = target.rpartition(".")[2] if target.startswith("stateful_route.") else target
    found = [name for name in domain.objects if name.endswith(f".{last}")]
    if len(found) == 1:
        return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], found[0], node, contnode)
    of_ours = target.startswith("stateful_route.") and len(last) > 1  # a type variable has one letter
    return contnode if node["reftype"] == "obj" or not of_ours else None


def before_napoleon(_app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """A page has its own introduction; a colon in the text of an attribute does not end a type."""
    if what == "module":
        lines.clear()
    colon = HIDDEN_COLON if what in {"attribute", "data", "property"} else ":"
    for place, line in enumerate(lines):
        heading = re.sub(r"^Raises, every (operation.*):$", r"Every \1 raises:", line)
        lines[place] = re.sub(r" \((?:reference|design)(?:'s)? §[^)]*\)", "", heading).replace(":", colon)


def after_napoleon(_app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """The colons are back."""
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("missing-reference", find_by_last_name)
