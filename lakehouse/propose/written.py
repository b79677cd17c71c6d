"""Python source as text, laid out as the formatter would; what files said stands in it as data and nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["WIDTH", "comment", "imported", "is_plain", "laid", "literal", "plain", "shown"]

WIDTH = 120
_READABLE = frozenset("£€§°ßäöüÄÖÜéèêëáàâíîïóôúùûçñÉÈÁÀÇÑåÅøØæÆ")


def literal(text: str) -> str:
    """A string literal of `text`, in the quotes that the formatter would choose; only what is safe stands as it is."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(f"\\{each}" if each in ("\\", quote) else _escaped(each) for each in text) + quote


def _escaped(letter: str) -> str:
    if (letter.isascii() and letter.isprintable()) or letter in _READABLE:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def is_plain(text: str) -> bool:
    """Whether every letter of it may stand in a comment, a docstring or a drawing as it is."""
    return all((each.isascii() and each.isprintable()) or each in _READABLE for each in text) and "\\" not in text


def plain(text: str) -> str:
    """The text for a docstring or a comment: what may not stand there is a question mark."""
    return "".join(each if is_plain(each) and each != '"' else "'" if each == '"' else "?" for each in text)


def shown(value: object, *, quoted: bool = True, longest: int = 32) -> str:
    """A value for a person, cut where it is long; in quotes where it is text."""
    text = plain(str(value))
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return f"'{text}'" if quoted else text


def comment(said: Iterable[str], indent: int) -> list[str]:
    """Each sentence as lines of comment; what of it came from files is `shown` or a `literal`."""
    return [f"{' ' * indent}# {line}" for each in said for line in textwrap.wrap(each, WIDTH - indent - 2)]


def laid(head: str, parts: Sequence[str | tuple[str, Sequence[str]]], tail: str, indent: int = 0) -> list[str]:
    """`head(parts)tail` on one line, or where it is too long a part a line; a part may be a call of its own."""
    pad = " " * indent
    flat = [each if isinstance(each, str) else f"{each[0]}({', '.join(each[1])})" for each in parts]
    line = f"{pad}{head}({', '.join(flat)}){tail}"
    if len(line) <= WIDTH:
        return [line]
    lines = [f"{pad}{head}("]
    for each, one in zip(parts, flat, strict=True):
        if isinstance(each, str) or len(pad) + 4 + len(one) + 1 <= WIDTH:
            lines.append(f"{pad}    {one},")
        else:
            lines += laid(each[0], each[1], ",", indent + 4)
    return [*lines, f"{pad}){tail}"]


def imported(module: str, words: set[str]) -> list[str]:
    """`from module import …`, in the order that the linter wants."""
    ordered = sorted(words, key=lambda each: (not (each.isupper() and len(each) > 1), not each[0].isupper(), each))
    line = f"from {module} import {', '.join(ordered)}"
    return [line] if len(line) <= WIDTH else [f"from {module} import (", *(f"    {each}," for each in ordered), ")"]
