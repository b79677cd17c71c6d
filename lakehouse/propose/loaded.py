"""A file that is not written yet, loaded: what it declares, and what its reader would make of the sample."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.ingest.formats import fit, parse
from lakehouse.engine.ingest.misfit import Misfit
from lakehouse.engine.quality.typed import Typed, typed
from lakehouse.propose.proposal import FILE
from lakehouse.propose.sample import Sample

__all__ = ["as_read", "loaded"]


@contextmanager
def loaded(sources: Mapping[str, str]) -> Generator[list[Declaration]]:
    """The declarations of table files, by module and source, as long as it is entered; a later one may read an earlier.

    Raises DeclarationError where one declares what cannot be.
    """
    before = {name: sys.modules.pop(name, None) for name in sources}
    try:
        with TemporaryDirectory() as folder:
            yield [_declared(Path(folder), name, source) for name, source in sources.items()]
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def _declared(folder: Path, name: str, source: str) -> Declaration:
    """From a file, as it will be: a table's logic is told from its source."""
    file = folder / f"{name}.py"
    file.write_text(source, encoding="utf-8")
    found = spec_from_file_location(name, file)
    assert found is not None  # noqa: S101 # of a file that ends in .py it is there
    assert found.loader is not None  # noqa: S101 # as above
    module: Any = module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return getattr(module, name.rpartition(".")[2]).declaration


def as_read(declared: Declaration, sample: Sample) -> tuple[Typed, pl.DataFrame, list[str]]:
    """All records of the sample as a reader of the declared table would get them; their text; what is set aside, why.

    Shape: the rows that read and those that do not together are those of the text.
    """
    stored: list[pl.DataFrame] = [declared.stored_schema.to_frame()]
    trouble: list[str] = []
    for file in sample.files:
        try:
            parsed = parse(declared, [fit(declared, file.content)])
        except Misfit as why:
            trouble.append(f"{file.name} would be set aside: {why}")
            continue
        trouble += [f"{file.name} would be set aside: {each}" for each in parsed.unreadable.values()]
        trouble += [
            f"{file.name}, row {row:,} would be set aside: {reason}"
            for row, reason in parsed.rejected.select("source_row", "reason").iter_rows()
        ]
        stored.append(_complete(parsed.accepted, declared, file.name))
    text = pl.concat(stored)
    found = typed(declared.contract, text.lazy())
    trouble += [
        f"{file}, row {row:,} would be set aside by its reader: a value does not read, or is not there"
        for file, row in found.unread.select(FILE, "source_row").iter_rows()
    ]
    return found, text, trouble


def _complete(rows: pl.DataFrame, declared: Declaration, name: str) -> pl.DataFrame:
    """The rows with all that a bronze table stores."""
    source: Any = declared.source
    at = {source.valid_at: source.time_of(name)} if hasattr(source, "valid_at") else {}
    beside = {FILE: name, "source_name": declared.name, "file_sha256": "", **at}
    return rows.with_columns(
        *(pl.lit(value).alias(column) for column, value in beside.items()), pl.lit(1, pl.Int64).alias("batch")
    ).select(declared.stored_schema.names())
