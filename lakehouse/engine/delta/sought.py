"""Rows of a table that have given keys: in which files they may lie, in which they do, and where there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl
from pyroaring import BitMap

from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import full
from lakehouse.engine.delta.protocol import DELETION_VECTORS, can_read
from lakehouse.engine.delta.pruning import may_hold, within
from lakehouse.engine.delta.scan import scan_files

# They hold a space, so that no column of a table can have these names (check_storable).
_FILE, _PLACE = "data file", "place in it"

_ALL_SAID, _NAMED = 2, 7
"""Writer versions: up to the one we say all that it asks for, from the other on the features are named."""


class Sought(NamedTuple):
    """Keys (or groups) that may stand, and the files, by their ranges, that may hold one of them."""

    wanted: pl.DataFrame
    files: list[str]

    def among(self, handle: Handle, paths: Sequence[str]) -> Sought:
        """Those that may stand in these files alone."""
        mine = set(self.files)
        some = [path for path in paths if path in mine]
        if len(some) == len(self.files):
            return self
        near = handle.files().filter(pl.col("path").is_in(some))
        return Sought(within(near, self.wanted, self.wanted.columns), some)


def seek(handle: Handle, wanted: pl.DataFrame) -> Sought:
    """Told from the log alone. `wanted` has the columns that are sought by and no others."""
    files = handle.files()
    candidates = may_hold(files, wanted, wanted.columns)
    near = files.filter(pl.col("path").is_in(candidates))
    return Sought(within(near, wanted, wanted.columns), candidates)


def found(handle: Handle, sought: Sequence[Sought], parts: Sequence[Sequence[str]] | None = None) -> dict[str, int]:
    """How many such rows a file holds, at least, by path in commit order: of those that hold one.

    Only the columns sought by are read, of one of the `parts` of the files at once.
    """
    counts = Counter[str]()
    for wanted, candidates in _in_parts(handle, sought, parts):
        names = dict(zip(full(handle.address, candidates), candidates, strict=True))
        rows = handle.scan_paths(candidates, file=_FILE).select(*wanted.columns, _FILE)
        met = rows.join(wanted.lazy(), on=wanted.columns, how="semi").group_by(_FILE).len().collect()
        counts |= Counter({names[path]: count for path, count in met.iter_rows()})
    return {path: counts[path] for path in handle.files()["path"] if path in counts}


def why_no_marks(handle: Handle) -> str:
    """Why rows of the table's files may not go by deletion vectors, in words; empty where they may."""
    if handle.readers is None:
        return "nobody said who reads it"
    if cannot := [each for each in handle.readers if not can_read([each], DELETION_VECTORS)]:
        return f"{' and '.join(cannot)}, which may read it, cannot read deletion vectors"
    if _ALL_SAID < (writer := handle.protocol[1]) < _NAMED:
        return f"another engine gave it writer version {writer}, which does not name the features that it stands for"
    if handle.older:
        return "some of its files are of before a column was widened"
    is_counted = handle.files()["rows"].null_count() == 0  # which the log must say beside a vector, and as stats
    if not is_counted or not all("stats" in add for add in handle.standing.adds.values()):
        return "its log does not say how many rows each file holds"
    return ""


class Gone(NamedTuple):
    """Rows that are to go. `marked`: by path, all that are gone then, of files that stay; `emptied` keep none.

    new: how many go that were there, by path, of both. share: of the rows of the files that stay, those that are gone.
    """

    marked: Mapping[str, BitMap]
    emptied: tuple[str, ...]
    new: Mapping[str, int]
    share: float


NONE_GONE = Gone({}, (), {}, 0)


def gone_by(handle: Handle, sought: Sequence[Sought], parts: Sequence[Sequence[str]] | None = None) -> Gone:
    """Where the rows sought by lie, found as by `found`."""
    gone_before = pl.col("gone").fill_null(0) if "gone" in handle.files().columns else 0
    held = dict(handle.files().select("path", pl.col("rows") + gone_before).iter_rows())
    gone, new = dict[str, BitMap](), dict[str, int]()
    for path, places in _places(handle, sought, held, parts).items():
        before = handle.gone.get(path, BitMap())
        if fresh := len(places - before):
            gone[path], new[path] = before | places, fresh
    emptied = tuple(path for path, places in gone.items() if len(places) == held[path])
    marked = {path: places for path, places in gone.items() if path not in emptied}
    share = sum(map(len, marked.values())) / (sum(held[path] for path in marked) or 1)
    return Gone(marked, emptied, new, share)


def _places(
    handle: Handle, sought: Sequence[Sought], held: Mapping[str, int], parts: Sequence[Sequence[str]] | None
) -> Mapping[str, BitMap]:
    """Where in each file such rows lie, those that are gone among them; only the columns sought by are read.

    held: how many rows each file holds, all of them.
    """
    found = dict[str, BitMap]()
    for wanted, candidates in _in_parts(handle, sought, parts):
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


def _in_parts(handle: Handle, sought: Sequence[Sought], parts: Sequence[Sequence[str]] | None) -> Iterator[Sought]:
    for each in sought:
        some = (each.among(handle, paths) for paths in parts) if parts is not None else (each,)
        yield from (one for one in some if one.files)
