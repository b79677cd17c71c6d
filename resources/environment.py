"""environments/*.yaml → frozen, strict settings. Loading needs no environment variable and no network.

A file holds what an operator edits without reading code: connections, hosts and the *names* of the environment
variables, and of the secrets in vaults, that open them. Never logic, and outside `local` never a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from lakehouse.engine.declare.near import did_you_mean
from lakehouse.engine.declare.ports import Switch
from lakehouse.engine.declare.upkeep import MOST_HOURS
from resources import redaction, settings_file
from resources.clouds import CloudName
from resources.connections import Adls as AdlsConnections
from resources.connections import Connection, LocalDiskConnection, Strict, VariableName, VaultName
from resources.settings_file import SettingsError

if TYPE_CHECKING:
    from resources.adls import Adls
    from resources.databricks.workspace import Databricks
    from resources.local_disk import LocalDisk
    from resources.no_spark import NoSpark
    from resources.sail import Sail
    from resources.upkeep_policies import UpkeepPolicies

SHIPPED = Path(__file__).with_name("environments")
PROJECT = Path(__file__).parents[1]
NEEDED = ("landing", "lake")
"""The connections that each environment has: where files come from unless a table names another, and the tables."""
NOTHING: Mapping[str, str] = MappingProxyType({})
_VARIABLE = re.compile(r"_variable['\"]?\s*:\s*['\"]?(\w+)")
_OF_DAGSTER = {"postgres_url", "password"}
"""The settings of a database in dagster.yaml that are secrets."""
TAKEN = {"io_manager", "spark", "upkeep"}  # by other resources of the code location

TableKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+/[A-Za-z0-9_]+$")]
KeptName = Annotated[str, Field(pattern=r"^(bronze|silver|gold)(/[A-Za-z0-9_.-]+)*$")]
ConnectionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class SailHere(Strict):
    """Scripts for Spark run on this machine, by Sail."""

    kind: Literal["sail"]


class DatabricksWorkspace(Strict):
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


class Upkeep(Strict):
    """How a layer's tables are kept, or one of them: what it does not say itself is as its layer has it.

    `retention_hours`: for so long every version can be read and restored. `target_mb`: of a file. `small_ratio`: the
    share of a partition's files that must be small before they are joined.
    """

    retention_hours: int = Field(720, ge=168, le=MOST_HOURS)
    target_mb: int = Field(128, ge=1, le=4096)
    small_ratio: float = Field(0.25, ge=0, le=1)


def _as_said(switch: object) -> object:
    """YAML takes on and off for true and false."""
    return {True: "on", False: "off"}.get(switch, switch) if isinstance(switch, bool) else switch


class Settings(Strict):
    """What an environment file may say. `key_vault_name` is the vault of connections that name none of their own.

    `reads_from` names another environment: its tables are read where this lake has none, and never written.
    `sources` are the tables that do not simply take what lands: `off` leaves it where it is; `shadow` takes it in a
    place of its own, which nothing reads. `upkeep` says how the tables of a layer are kept, or one table.
    `merge_memory_mb` is what a merge may take of memory: half of what the process may have, where it is not said.
    """

    connections: dict[ConnectionName, Connection]
    key_vault_name: VaultName | None = None
    cloud: CloudName = "public"
    reads_from: str | None = None
    spark: Annotated[SailHere | DatabricksWorkspace, Field(discriminator="kind")] | None = None
    sources: dict[TableKey, Annotated[Switch, BeforeValidator(_as_said)]] = Field(default={})
    upkeep: dict[KeptName, Upkeep] = Field(default={})
    merge_memory_mb: int | None = Field(None, ge=64)
    executor: Literal["in_process", "multiprocess"] = "in_process"
    dagster_storage: Literal["sqlite", "postgres"] = "sqlite"


class Environment(Settings):
    """Where everything stands, by which file, on which of its `lines`, and where the local part of it lies."""

    name: str
    file: Path
    home: Path
    lines: dict[tuple[str, ...], int] = Field(default={}, repr=False)
    behind: Environment | None = None


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
    environment = _read(name)
    other = environment.reads_from
    return environment if other is None else environment.model_copy(update={"behind": _behind(environment, other)})


def _read(name: str, why: str = "LAKEHOUSE_ENVIRONMENT names it; without that it is local") -> Environment:
    home = lakehouse_home()
    file = _file_of(name, [home / "environments", SHIPPED], why)
    said = settings_file.read(file)
    try:
        settings = Settings.model_validate(said.content)
        complaints = [*_complaints(settings, name)]
    except ValidationError as wrong:
        complaints = [_sentence(error) for error in wrong.errors(include_input=False)]
        settings = None
    for connection in settings.connections.values() if settings else ():
        if not isinstance(connection, LocalDiskConnection):
            for secret in connection.literals().values():
                redaction.keep(secret.get_secret_value())
    if settings is None or complaints:
        # outside of the handler: pydantic's own text would be printed too, and says less
        raise SettingsError("\n  ".join([f"{file} cannot be used:", *complaints]))
    return Environment(name=name, file=file, home=home, lines=said.lines, **dict(settings))


def _behind(environment: Environment, name: str) -> Environment:
    """The environment that is read where this one has no table. Raises SettingsError where it could be written."""
    said = f"{environment.file}: reads_from: {name}"
    if name == environment.name:
        raise SettingsError(f"{said} is this very environment.")
    behind = _read(name, f"{environment.file} names it, as reads_from")
    if behind.reads_from:
        raise SettingsError(f"{said} reads from {behind.reads_from} itself. Name that one.")
    if _spot(environment.connections["lake"]) == _spot(behind.connections["lake"]):
        raise SettingsError(
            f"{said} has the same lake, which is read from there and must never be written. Give this environment a "
            "lake of its own: another path, container or account."
        )
    return behind


def _spot(connection: Connection) -> tuple[str | None, ...]:
    if isinstance(connection, LocalDiskConnection):
        return (str(lakehouse_home() / connection.path),)
    return connection.account, connection.container, connection.endpoint


def lake_behind(environment: Environment) -> LocalDisk | Adls | None:
    """The lake of the environment that this one reads from, as a Dagster resource."""
    other = environment.behind
    return other and _storage("lake", other.connections["lake"], other)


def storages(environment: Environment, wanted: Mapping[str, str] = NOTHING) -> dict[str, LocalDisk | Adls]:
    """Every connection as a Dagster resource, by name: `landing` and `lake` among them. Asks for nothing.

    `wanted` are the names that tables read from, each by its table. Raises SettingsError where one is not there.
    """
    for table, name in wanted.items():
        if environment.sources.get(table) != "off":
            instead = f"mend connection= in the table's file, or leave it out here (sources: {{{table}: off}})"
            refuse_unknown(environment, name, table, instead)
    if wanted and (unknown := sorted(environment.sources.keys() - wanted.keys())):
        raise SettingsError(
            f"{environment.file} switches {', '.join(unknown)}{did_you_mean(unknown[0], wanted)} under `sources:`, "
            f"and no such table takes what lands. There are: {', '.join(wanted)}."
        )
    found = {name: _storage(name, each, environment) for name, each in environment.connections.items()}
    # what is off is never read: some storage must stand for a connection that is not there
    return {**dict.fromkeys(wanted.values(), found["landing"]), **found}


def refuse_unknown(environment: Environment, name: str, table: str, instead: str) -> None:
    """Raise SettingsError where `table` reads from a connection that is not there. `instead` is what else to do."""
    known = environment.connections
    if name not in known:
        raise SettingsError(
            f"{table} reads from the connection {name!r}{did_you_mean(name, known)}, and {environment.file} has "
            f"none of that name. It has: {', '.join(known)}. Add it there, or {instead}."
        )


def literal(file: str, connection: str, key: str) -> str:
    """A secret that stands in the environment file itself, so that it is in nothing that Dagster is given."""
    return str(settings_file.read(Path(file)).content["connections"][connection][key])


def secret_variables() -> set[str]:
    """All that the environment files of this machine, and Dagster's settings, name as holding a secret."""
    home = lakehouse_home()
    settings = Path(os.environ.get("DAGSTER_HOME") or home / "dagster") / "dagster.yaml"
    files = [file for folder in (home / "environments", SHIPPED) for file in folder.glob("*.yaml")]
    found = set[str]()
    for file in (*files, Path(__file__).with_name("dagster.postgres.yaml"), settings):
        try:
            found.update(_named(settings_file.read(file).content))
        except SettingsError:  # half saved, say: what it names is withheld all the same
            found.update(_VARIABLE.findall(file.read_text(errors="replace")))
        except OSError:
            continue  # not there
    return found


def _named(said: Mapping[str, Any], below: str = "") -> Iterator[str]:
    for key, value in said.items():
        if isinstance(value, Mapping):
            yield from _named(value, str(key))
        elif (key == "env" and below in _OF_DAGSTER) or (str(key).endswith("_variable") and key != "port_variable"):
            yield str(value)


def _storage(name: str, connection: Connection, environment: Environment) -> LocalDisk | Adls:
    switches = {table: each for table, each in environment.sources.items() if each != "on"}
    if isinstance(connection, LocalDiskConnection):
        from resources.local_disk import LocalDisk

        return LocalDisk(path=str(environment.home / connection.path), switches=switches)
    from resources.adls import Adls

    vault = {"key_vault_name": environment.key_vault_name or ""} if _needs_vault(connection) else {}
    return Adls(
        account=connection.account,
        container=connection.container,
        endpoint=connection.endpoint,
        port_variable=connection.port_variable,
        auth={**vault, **connection.auth},
        cloud=environment.cloud,
        connection=name,
        switches=switches,
        declared_in=str(environment.file),
    )


def _needs_vault(connection: Connection) -> bool:
    return bool(getattr(connection, "secret_name", None)) and not getattr(connection, "key_vault_name", None)


def _complaints(settings: Settings, name: str) -> Iterator[str]:
    """What no key says alone."""
    for needed in NEEDED:
        if needed not in settings.connections:
            yield f"connections.{needed} is missing."
    for taken in sorted(TAKEN & set(settings.connections)):
        yield f"connections.{taken}: a connection cannot be called so; it is the name of something else here."
    for key, each in settings.connections.items():
        if isinstance(each, LocalDiskConnection):
            continue
        if each.one_of and len([one for one in each.one_of if getattr(each, one)]) != 1:
            yield f"connections.{key} must name one of {' and '.join(each.one_of)}."
        for secret in each.literals() if name != "local" else ():
            yield (
                f"connections.{key}.{secret}: a literal secret may stand in the environment `local` only. Name a "
                f"variable ({secret}_variable), or put it in a vault (auth_mode: key_vault)."
            )
        if _needs_vault(each) and not settings.key_vault_name:
            yield (
                f"connections.{key}.key_vault_name is missing: {each.auth['secret_name']!r} is a secret of no vault. "
                "Name the vault here, or one for all above connections: (key_vault_name: company-kv)."
            )


def policies(environment: Environment) -> UpkeepPolicies:
    """How tables are kept here, as a Dagster resource."""
    from resources.upkeep_policies import UpkeepPolicies

    said = {name: each.model_dump(exclude_unset=True) for name, each in environment.upkeep.items()}
    return UpkeepPolicies(said=said)


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


def _file_of(name: str, folders: list[Path], why: str) -> Path:
    found = [file for folder in folders if (file := folder / f"{name}.yaml").is_file() and "/" not in name]
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"Environment {name!r} stands twice: {found[0]} and {found[1]}. Rename one of them.")
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise SettingsError(
        f"There is no environment {name!r}{did_you_mean(name, known)}. Known: {', '.join(known)}. "
        f"Looked for {name}.yaml in {' and '.join(map(str, folders))}. {why}."
    )


def _tagged(union: Any, tag: str) -> dict[str, type[BaseModel]]:
    """The models of a union, by the value that tells them apart."""
    models = get_args(get_args(getattr(union, "__value__", union))[0])
    return {get_args(model.model_fields[tag].annotation)[0]: model for model in models}


AUTH_MODES = _tagged(AdlsConnections, "auth_mode")
TYPES: Mapping[str, Any] = {"local_disk": LocalDiskConnection, "azure_adls": AUTH_MODES}
CLUSTERS: Mapping[str, Any] = {"sail": SailHere, "databricks": DatabricksWorkspace}


A_VARIABLE = "the name of a variable that holds the secret, never the secret itself"
MEANT = {
    "account": "the account's name, what stands before .blob.core.windows.net: 3 to 24 small letters and digits",
    "container": "a container's name: 3 to 63 small letters, digits and hyphens",
    "key_vault_name": "the vault's name, what stands before .vault.azure.net: letters, digits and hyphens",
    "secret_name": "the secret's name: letters, digits and hyphens",
    "path": "a folder as it is called: ~ and $VARIABLE are not filled in",
}
"""What is to stand there, where a pattern says it to nobody."""


def _place(location: tuple[Any, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The keys of an error's location, without the values that told models apart; and the model that knows them."""
    names = [str(part) for part in location]
    if names[0] == "upkeep" and len(names) > len(("upkeep", "a layer")):
        return names, Upkeep
    depth, kinds = (2, TYPES) if names[0] == "connections" else (1, CLUSTERS)
    keys, rest = names[:depth], names[depth:]
    model: Any = Settings
    if names[0] in ("connections", "spark"):
        model = kinds
        while rest and isinstance(model, Mapping):
            model = model.get(rest.pop(0))
    return keys + rest, model if isinstance(model, type) else None


def _sentence(error: Any) -> str:
    """What one pydantic error means for the one who edits the file. Says no value: it may be a secret."""
    where, model = _place(error["loc"])
    key, owner = where[-1], ".".join(where[:-1])
    match error["type"]:
        case "extra_forbidden":
            fields = (model or Settings).model_fields
            known = f"{owner or 'an environment'} knows: {', '.join(fields)}"
            moved = f" It stands below connections: now, as connections.{key}." if where[0] in NEEDED else ""
            return f"{'.'.join(where)} is not known{did_you_mean(key, fields)}. {known}.{moved}"
        case "missing":
            return f"{'.'.join(where)} is missing."
        case "union_tag_not_found" | "union_tag_invalid":
            context = error.get("ctx", {})
            tag, key = str(context.get("tag", "")), str(context["discriminator"]).strip("'")
            kinds = {"type": TYPES, "auth_mode": AUTH_MODES, "kind": CLUSTERS}[key]
            return f"{'.'.join(where)}.{key} must be one of {', '.join(kinds)}{did_you_mean(tag, kinds)}."
        case "string_pattern_mismatch" | "string_too_long" | "string_too_short" if key in MEANT or _is_variable(key):
            return f"{'.'.join(where)} must be {MEANT.get(key) or A_VARIABLE}."
        case _:
            return f"{'.'.join(where)}: {error['msg']}."


def _is_variable(key: str) -> bool:
    return key.endswith("_variable")
