"""environments/*.yaml → frozen, strict settings. Loading needs no environment variable and no network.

A file holds what an operator edits without reading code: kinds, accounts, containers, endpoints and the *names* of the
environment variables that hold secrets. Never a secret, never logic.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lakehouse.engine.declare.errors import WrongUsage

if TYPE_CHECKING:
    from resources.adls import Adls
    from resources.databricks.workspace import Databricks
    from resources.local_disk import LocalDisk
    from resources.no_spark import NoSpark
    from resources.sail import Sail

SHIPPED = Path(__file__).with_name("environments")
PROJECT = Path(__file__).parents[1]

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]


class SettingsError(WrongUsage):
    """An environment is not there, or its file says something that is not known."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class LocalDiskPlace(_Strict):
    """A folder; `path` is below LAKEHOUSE_HOME unless it is absolute."""

    kind: Literal["local_disk"]
    path: str = Field(min_length=1)


class AdlsPlace(_Strict):
    """A container of a storage account on Azure. `{port}` in `endpoint` is filled from `port_variable`, in the run."""

    kind: Literal["adls"]
    account: str = Field(pattern=r"^[a-z0-9]{3,24}$")
    container: str = Field(pattern=r"^[a-z0-9](-?[a-z0-9])+$", max_length=63)
    key_variable: VariableName = "AZURE_STORAGE_KEY"
    endpoint: str | None = Field(None, pattern=r"^https?://[^?@#\s]+$")
    port_variable: VariableName | None = None

    @model_validator(mode="after")
    def _port_has_its_place(self) -> Self:
        if (self.port_variable is not None) != ("{port}" in (self.endpoint or "")):
            raise ValueError("`{port}` in endpoint and port_variable go together")
        return self


type Place = LocalDiskPlace | AdlsPlace


class SailHere(_Strict):
    """Scripts for Spark run on this machine, by Sail."""

    kind: Literal["sail"]


class DatabricksWorkspace(_Strict):
    """Scripts for Spark run in a workspace of Databricks, serverless unless a cluster is named.

    `volume` is a folder of a Unity Catalog volume, below which each job has a folder of its own. Without
    `token_variable` the SDK finds its own way in: Azure CLI, managed identity, or its variables (ARM_…, DATABRICKS_…).
    """

    kind: Literal["databricks"]
    host: str = Field(pattern=r"^https?://[^/?@#\s]+$")
    volume: str = Field(pattern=r"^/Volumes(/[^/\s]+){3,}$")
    token_variable: VariableName | None = None
    cluster_id: str | None = Field(None, min_length=1)
    timeout_minutes: int = Field(240, ge=1)


PLACES = {"local_disk": LocalDiskPlace, "adls": AdlsPlace}
CLUSTERS = {"sail": SailHere, "databricks": DatabricksWorkspace}
KINDS = {**PLACES, **CLUSTERS}


class Settings(_Strict):
    """What an environment file may say."""

    landing: Annotated[LocalDiskPlace | AdlsPlace, Field(discriminator="kind")]
    lake: Annotated[LocalDiskPlace | AdlsPlace, Field(discriminator="kind")]
    spark: Annotated[SailHere | DatabricksWorkspace, Field(discriminator="kind")] | None = None
    executor: Literal["in_process", "multiprocess"] = "in_process"
    dagster_storage: Literal["sqlite", "postgres"] = "sqlite"


class Environment(Settings):
    """Where everything stands, by which file, and where the local part of it lies."""

    name: str
    file: Path
    home: Path


def lakehouse_home() -> Path:
    """The folder of all that is local: LAKEHOUSE_HOME, else `home` of the checkout (or of here, when installed)."""
    named = os.environ.get("LAKEHOUSE_HOME")
    if named:
        return Path(named).expanduser().absolute()
    return (PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()) / "home"


def load_environment(name: str | None = None) -> Environment:
    """The environment called `name`, else the one that LAKEHOUSE_ENVIRONMENT names, else `local`. Raises SettingsError.

    A file `<LAKEHOUSE_HOME>/environments/<name>.yaml` adds an environment to those that are shipped.
    """
    name = name or os.environ.get("LAKEHOUSE_ENVIRONMENT") or "local"
    home = lakehouse_home()
    file = _file_of(name, [home / "environments", SHIPPED])
    try:
        settings = Settings.model_validate(_mapping(file))
    except ValidationError as wrong:
        complaints = "\n".join(f"  {_sentence(error)}" for error in wrong.errors(include_input=False))
        # from None: pydantic's own text would be printed below ours and says less
        raise SettingsError(f"{file} cannot be used:\n{complaints}") from None
    return Environment(
        name=name, file=file, home=home, **{key: getattr(settings, key) for key in Settings.model_fields}
    )


def storages(environment: Environment) -> tuple[LocalDisk | Adls, LocalDisk | Adls]:
    """The landing zone and the lake, as Dagster resources. Reads no secret and touches no disk."""
    return _storage(environment.landing, environment), _storage(environment.lake, environment)


def _storage(place: Place, environment: Environment) -> LocalDisk | Adls:
    if isinstance(place, LocalDiskPlace):
        from resources.local_disk import LocalDisk

        return LocalDisk(path=str(environment.home / place.path))
    from resources.adls import Adls

    return Adls(**place.model_dump(exclude={"kind"}), declared_in=str(environment.file))


def cluster(environment: Environment) -> Sail | Databricks | NoSpark:
    """What carries out scripts for Spark, as a Dagster resource. Asks for nothing and imports no SDK."""
    named = environment.spark
    if named is None:
        from resources.no_spark import NoSpark

        return NoSpark(declared_in=str(environment.file))
    if isinstance(named, SailHere):
        from resources.sail import Sail

        return Sail()
    from resources.databricks.workspace import Databricks

    return Databricks(**named.model_dump(exclude={"kind"}), declared_in=str(environment.file))


def _file_of(name: str, folders: list[Path]) -> Path:
    found = [file for folder in folders if (file := folder / f"{name}.yaml").is_file() and "/" not in name]
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"Environment {name!r} stands twice: {found[0]} and {found[1]}. Rename one of them.")
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise SettingsError(
        f"There is no environment {name!r}{_did_you_mean(name, known)}. Known: {', '.join(known)}. "
        f"Looked for {name}.yaml in {' and '.join(map(str, folders))}. "
        "LAKEHOUSE_ENVIRONMENT names the environment; without it, it is local."
    )


class _NoKeyTwice(yaml.SafeLoader):
    """YAML lets the later of two equal keys win, silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            problem = f"{twice[0]!r} stands twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _mapping(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_NoKeyTwice)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as unreadable:
        # from None, and the place only: the text of the line may hold what should not be printed
        mark = getattr(unreadable, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        problem = getattr(unreadable, "problem", None) or "not UTF-8 text"
        raise SettingsError(f"{file} is not YAML that can be read{where}: {problem}.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds no settings. It must say: {', '.join(Settings.model_fields)}.")
    return content


def _sentence(error: Any) -> str:
    """What one pydantic error means for the one who edits the file. Says no value: it may be a secret."""
    where = [str(part) for part in error["loc"] if part not in KINDS]
    key, owner = where[-1], ".".join(where[:-1])
    kind = next((part for part in error["loc"] if part in KINDS), None)
    model = KINDS[kind] if kind else Settings
    match error["type"]:
        case "extra_forbidden":
            hint = _did_you_mean(key, model.model_fields)
            known = f"{owner or 'an environment'} knows: {', '.join(model.model_fields)}"
            return (
                f"{'.'.join(where)} is not known{hint}. {known}. A secret never stands here, only its variable's name."
            )
        case "missing":
            return f"{'.'.join(where)} is missing."
        case "union_tag_not_found" | "union_tag_invalid":
            tag = str(error.get("ctx", {}).get("tag", ""))
            kinds = CLUSTERS if key == "spark" else PLACES
            return f"{'.'.join(where)}.kind must be one of {', '.join(kinds)}{_did_you_mean(tag, kinds)}."
        case _:
            return f"{'.'.join(where)}: {error['msg']}."


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
