"""What installed packages need."""

from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed_by(wanted: Requirement) -> set[str]:
    """The names of a package that is installed here and of all that it needs."""
    found, left = set(), [wanted]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            needs = [Requirement(text) for text in distribution(name).requires or ()]
            left += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found
