"""Finds the files that ship beside the code: ``lua/``, ``crds/`` and ``examples/``.

In a wheel they lie inside the package; in a checkout (an editable install) at the top of the tree.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal


def shipped(folder: Literal["lua", "crds", "examples"]) -> Traversable:
    """The folder of that name, wherever this installation keeps it.

    Raises:
        FileNotFoundError: neither place has it: the wheel is damaged or was built without it.
    """
    inside = files("stateful_route") / folder
    if inside.is_dir():
        return inside
    tree = Path(__file__).resolve().parents[2] / folder
    if tree.is_dir():
        return tree
    raise FileNotFoundError(
        f"stateful-route is installed without its {folder}/ folder (looked in {inside} and {tree}): reinstall it"
    )
