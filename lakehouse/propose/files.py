"""A new table's files: worked out whole, then written where nothing stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lakehouse.engine.declare.errors import DeclarationError, WrongUsage
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.ports import Storage
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.text import local_time
from lakehouse.propose import names
from lakehouse.propose.loaded import as_read, loaded
from lakehouse.propose.proposal import Proposal, proposal
from lakehouse.propose.sample import taken
from lakehouse.propose.specs import bronze_spec, silver_spec
from lakehouse.propose.tables import Tables

__all__ = ["Asked", "NewTable", "new_table", "refuse_standing", "source_name", "write"]

_ENDINGS = "jsonl|ndjson|json|csv|tsv|txt|parquet|avro|xlsx|xlsm|gz|zip|zst"


@dataclass(frozen=True)
class Asked:
    """What a person asks for: tables by name, made of the files of a pattern."""

    pattern: str
    bronze: str
    silver: str | None = None
    zone: str | None = None
    whole: bool = False
    connection: str = "landing"


@dataclass(frozen=True)
class NewTable:
    """`files` by their path below the project, as they would be written; `records` were read.

    `trouble` says of each file or record of the sample that would be set aside why.
    """

    proposed: Proposal
    tables: Tables
    files: Mapping[str, str]
    records: int
    trouble: Sequence[str]


def source_name(pattern: str) -> str:
    """`erp/returns/dt=*/*.gz` -> `erp_returns`: what of the pattern says which source it is; '' where nothing does."""
    *folders, file = pattern.split("/")
    stem = re.sub(rf"(\.({_ENDINGS}))+\Z", "", file, flags=re.IGNORECASE)
    parts = [part for part in folders if "*" not in part]
    if "*" not in stem and names.snake(stem) not in {names.snake(each) for each in parts[-1:]}:
        parts.append(stem)
    return "_".join(filter(None, (names.snake(part) for part in parts)))


def paths(asked: Asked) -> dict[str, str]:
    """Where each of the files goes, by what it is."""
    named = {"bronze": asked.bronze, **({"silver": asked.silver} if asked.silver else {})}
    return {
        each: path
        for layer, name in named.items()
        for each, path in (
            (layer, f"lakehouse/tables/{layer}/{name}.py"),
            (f"{layer} spec", f"lakehouse_tests/tables/{layer}/test_{name}.py"),
        )
    }


def refuse_standing(root: Path, asked: Asked, standing: Mapping[str, str]) -> None:
    """Raise WrongUsage where a name cannot be a table's, a file is there already, or a table of that key.

    `standing` are the keys of the tables that there are, each with the module that declares it.
    """
    for layer, name in (("bronze", asked.bronze), ("silver", asked.silver)):
        if name is None:
            continue
        option = "NAME" if layer == "silver" or not asked.silver else "--bronze NAME"
        if not names.is_table(name):
            raise WrongUsage(
                f"{name!r} cannot be a table's name: that is lower case letters, digits and '_', and no word of Python "
                f"or of its own file. Say another {option}. Nothing was written."
            )
        if module := standing.get(f"{layer}/{name}"):
            raise WrongUsage(
                f"The table {layer}/{name} is there already, in {module.replace('.', '/')}.py. Edit that one, move it "
                f"away, or say another {option}. Nothing was written."
            )
    if there := [path for path in paths(asked).values() if (root / path).exists()]:
        raise WrongUsage(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already, and nothing is overwritten. "
            "Move it away, or say another name (--bronze says that of the bronze table). Nothing was written."
        )


def new_table(storage: Storage, asked: Asked) -> NewTable:
    """Read the files, propose, load what is proposed, and read the files again by it. Nothing is written.

    Raises WrongUsage where no file is of the pattern, Refused where none can be read, DeclarationError where what was
    read cannot be declared.
    """
    _refuse_unfit(asked)
    proposed = proposal(taken(storage, asked.pattern, whole=asked.whole), asked.zone)
    tables = Tables(proposed, asked.bronze, asked.silver, asked.connection)
    where = paths(asked)
    files = {where["bronze"]: tables.bronze_source()}
    if asked.silver:
        files[where["silver"]] = tables.silver_source()
    with loaded({path.removesuffix(".py").replace("/", "."): source for path, source in files.items()}) as declared:
        found, text, trouble = as_read(declared[0], proposed.sample)
        alike = text.join(found.read.select("source_file", "source_row"), on=["source_file", "source_row"],
                          how="semi", maintain_order="left")  # fmt: skip
        files[where["bronze spec"]] = bronze_spec(declared[0], alike, found.read)
        if asked.silver:
            files[where["silver spec"]] = silver_spec(declared[1], alike, found.read)
    return NewTable(proposed, tables, files, text.height, [*proposed.trouble, *trouble])


def _refuse_unfit(asked: Asked) -> None:
    """Raise WrongUsage for a pattern or a zone that no table could declare, before a file is read."""
    try:
        Files(asked.pattern, JsonLines())
        if asked.zone:
            local_time(asked.zone)
    except DeclarationError as wrong:
        raise WrongUsage(f"{wrong} Nothing was written.") from wrong


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write each where nothing is; a folder of tables that is new becomes a package."""
    for path, source in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("lakehouse/tables/") and not (place.parent / "__init__.py").exists():
            (place.parent / "__init__.py").touch()
        with place.open("x", encoding="utf-8", newline="\n") as file:
            file.write(source)
