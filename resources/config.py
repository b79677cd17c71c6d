"""What an environment is set to, and where each value comes from. No secret is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from resources.environment import Environment, Settings, load_environment
from resources.redaction import REDACTED


@dataclass(frozen=True)
class Setting:
    """One value, by its dotted name. `origin` is a file and line, a variable, or a default."""

    name: str
    value: str
    origin: str


def shown(name: str | None = None) -> list[Setting]:
    """The settings of an environment, in the order in which a file would say them. Raises SettingsError."""
    environment = load_environment(name)
    by_variable = "LAKEHOUSE_ENVIRONMENT" if os.environ.get("LAKEHOUSE_ENVIRONMENT") else "default"
    home = "LAKEHOUSE_HOME" if os.environ.get("LAKEHOUSE_HOME") else "default"
    return [
        Setting("environment", environment.name, "asked for" if name else by_variable),
        Setting("home", str(environment.home), home),
        *_settings(environment),
    ]


def schema() -> str:
    """JSON Schema of an environment file, for completion in an editor."""
    return json.dumps(Settings.model_json_schema() | {"title": "An environment of the lakehouse"}, indent=1) + "\n"


def _settings(environment: Environment) -> Iterator[Setting]:
    lines = environment.lines
    values = environment.model_dump(include={*Settings.model_fields}, exclude_none=True)
    for path, value in _leaves(values):
        origin = f"{_short(environment.file)}:{lines[path]}" if path in lines else "default"
        if path[-1].endswith("_variable") and isinstance(value, str):
            origin += f"; {value} is {'set' if os.environ.get(value) else 'NOT set'}"
        yield Setting(".".join(path), REDACTED if isinstance(value, SecretStr) else str(value), origin)


def _leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _short(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
