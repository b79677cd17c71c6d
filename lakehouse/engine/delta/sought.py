"""Rows of a table that have given keys: in which files they may lie, in which they do, and where there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl
from pyroaring import BitMap

from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import full
from lakehouse.engine.delta.protocol import DELETION_VECTORS, can_read
from lakehouse.engine.delta.pruning import may_hold, within
from lakehouse.engine.delta.scan import scan_files
from lakehouse.engine.delta.vectors import Mark, write_vectors

MOST_GONE = 0.5
"""Of the rows of files that a merge touches: where so many would be gone, writing what is left anew costs less."""

# They hold a space, so that no column of a table can have these names (check_storable).
_FILE, _PLACE = "data file", "place in it"


class Sought(NamedTuple):
    """Keys (or groups) that may stand, and the files, by their ranges, that may hold one of them."""

    wanted: pl.DataFrame
    files: list[str]


def seek(handle: Handle, wanted: pl.DataFrame) -> Sought:
    """Told from the log alone. `wanted` has the columns that are sought by and no others."""
    files = handle.files()
    candidates = may_hold(files, wanted, wanted.columns)
    near = files.filter(pl.col("path").is_in(candidates))
    return Sought(within(near, wanted, wanted.columns), candidates)


def touched(handle: Handle, sought: Sequence[Sought]) -> list[str]:
    """The paths, in commit order, of the files that hold such a row, told from the columns read."""
    held: set[str] = set()
    for wanted, candidates in sought:
        names = dict(zip(full(handle.address, candidates), candidates, strict=True))
        found = (
            handle.scan_paths(candidates, file=_FILE)
            .select(*wanted.columns, _FILE)
            .join(wanted.lazy(), on=wanted.columns, how="semi")
            .select(pl.col(_FILE).unique())
            .collect()
        )
        held.update(names[path] for path in found[_FILE])
    return [path for path in handle.files()["path"] if path in held]


def may_mark(handle: Handle) -> bool:
    """Whether rows of the table's files may go by deletion vectors: all who read it were named, and know them."""
    if handle.readers is None or not can_read(handle.readers, DELETION_VECTORS) or not handle.is_ours or handle.older:
        return False
    return all("stats" in add for add in handle.standing.adds.values())  # which the log must say beside a vector


def marks(handle: Handle, sought: Sequence[Sought]) -> tuple[dict[str, Mark], tuple[str, ...]] | None:
    """Vectors by which all these rows are gone, by path, written and seen by nobody; and files of which none is left.

    None where so many rows would be gone that the files are better written anew.
    """
    gone_before = pl.col("gone").fill_null(0) if "gone" in handle.files().columns else 0
    held = dict(handle.files().select("path", pl.col("rows") + gone_before).iter_rows())
    found = _places(handle, sought, held)
    gone = {path: handle.gone.get(path, BitMap()) | places for path, places in found.items()}
    emptied = tuple(path for path, places in gone.items() if len(places) == held[path])
    fewer = {
        path: places
        for path, places in gone.items()
        if path not in emptied and len(places) > len(handle.gone.get(path, BitMap()))
    }
    if sum(map(len, fewer.values())) > MOST_GONE * sum(held[path] for path in fewer):
        return None
    return write_vectors(handle.address, fewer) if fewer else {}, emptied


def _places(handle: Handle, sought: Sequence[Sought], held: Mapping[str, int]) -> Mapping[str, BitMap]:
    """Where in each file such rows lie, those that are gone among them; only the columns sought by are read.

    held: how many rows each file holds, all of them.
    """
    found = dict[str, BitMap]()
    for wanted, candidates in sought:
        names = dict(zip(full(handle.address, candidates), candidates, strict=True))
        starts = pl.Series([held[path] for path in candidates], dtype=pl.Int64).cum_sum().shift(1, fill_value=0)
        start = dict(zip(candidates, starts, strict=True))
        rows = scan_files(
            handle.address, candidates, handle.schema, handle.partition_by, file=_FILE, place=_PLACE
        ).select(*wanted.columns, _FILE, _PLACE)
        places = rows.join(wanted.lazy(), on=wanted.columns, how="semi").select(_FILE, _PLACE).collect()
        for (file,), some in places.partition_by(_FILE, as_dict=True).items():
            path = names[str(file)]
            here = BitMap((some[_PLACE].cast(pl.Int64) - start[path]).to_list())
            found[path] = found[path] | here if path in found else here
    return found
