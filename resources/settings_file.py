"""A file of settings in YAML: what it says, and on which line. Nothing of its text is repeated: it may be a secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lakehouse.engine.declare.errors import WrongUsage

type Path_ = tuple[str, ...]


class SettingsError(WrongUsage):
    """An environment is not there, or its file says something that is not known."""


@dataclass(frozen=True)
class SettingsFile:
    """`content` as YAML means it, and the `lines` (from 1) on which each of its keys stands, by their path."""

    content: dict[str, Any]
    lines: dict[Path_, int]


def read(file: Path) -> SettingsFile:
    """Raises SettingsError where it is no YAML, no mapping, or says a key twice."""
    try:
        loader = yaml.SafeLoader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        lines = dict(_lines(node)) if isinstance(node, yaml.MappingNode) else {}
        content = loader.construct_document(node) if node else None
    except (yaml.YAMLError, UnicodeDecodeError) as unreadable:
        # from None, and the place only: the text of the line may hold what should not be printed
        mark = getattr(unreadable, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        problem = getattr(unreadable, "problem", None) or "not UTF-8 text"
        raise SettingsError(f"{file} is not YAML that can be read{where}: {problem}.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds no settings. It must say connections: with a landing and a lake.")
    return SettingsFile(content, lines)


def _lines(node: yaml.MappingNode, above: Path_ = ()) -> Iterator[tuple[Path_, int]]:
    """YAML lets the later of two equal keys win, silently: here they are an error."""
    seen = set[str]()
    for key, value in node.value:
        name = str(key.value)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
        seen.add(name)
        yield (*above, name), key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from _lines(value, (*above, name))
