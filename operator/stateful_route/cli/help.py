"""The text of a command's help, from its docstring."""

import inspect


def flowing(text: str | None) -> str:
    """The text with each paragraph in one line, so that it wraps where the terminal does; indented lines stay lines."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith(" ") else " ".join(paragraph.split("\n")) for paragraph in paragraphs
    )
