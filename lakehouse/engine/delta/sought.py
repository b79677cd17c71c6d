"""Rows of a table that have given keys: in which files they may lie, in which they do, and where there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl
from pyroaring import BitMap

from lakehouse.engine.delta.batch import NEWEST, NO
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import full
from lakehouse.engine.delta.protocol import DELETION_VECTORS, can_read
from lakehouse.engine.delta.pruning import may_hold, within
from lakehouse.engine.delta.scan import NOTHING_GONE

# They hold a space, so that no column of a table can have these names (check_storable).
_FILE, _PLACE, _STOOD = "data file", "place in it", "as it stood"

_ALL_SAID, _NAMED = 2, 7
"""Writer versions: up to the one we say all that it asks for, from the other on the features are named."""


def sought_by(wanted: pl.DataFrame) -> list[str]:
    """The columns without what a Batch gives beside."""
    return [name for name in wanted.columns if name not in (NO, NEWEST)]


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
        return Sought(within(near, self.wanted, sought_by(self.wanted)), some)


def seek(handle: Handle, wanted: pl.DataFrame) -> Sought:
    """Told from the log alone. `wanted` has the columns that are sought by, and no other of the table's."""
    files, on = handle.files(), sought_by(wanted)
    candidates = may_hold(files, wanted, on)
    near = files.filter(pl.col("path").is_in(candidates))
    return Sought(within(near, wanted, on), candidates)


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


@dataclass
class Found:
    """By path, where in each file rows lie that were sought, those that are gone already among them.

    older: the numbers of rows that come and are older than the one that stands.
    """

    places: dict[str, BitMap] = field(default_factory=dict[str, BitMap])
    older: BitMap = field(default_factory=BitMap)


class Gone(NamedTuple):
    """Rows that are to go. `marked`: by path, all that are gone then, of files that stay; `emptied` keep none.

    new: how many go that were there, by path in commit order, of both. share: of the rows of the files that stay, those
    that are gone.
    """

    marked: Mapping[str, BitMap]
    emptied: tuple[str, ...]
    new: Mapping[str, int]
    share: float


def gone_by(handle: Handle, found: Found) -> Gone:
    """What goes with the rows that were found."""
    held = _held(handle)
    gone, new = dict[str, BitMap](), dict[str, int]()
    for path in (each for each in held if each in found.places):
        before = handle.gone.get(path, BitMap())
        if fresh := len(found.places[path] - before):
            gone[path], new[path] = before | found.places[path], fresh
    emptied = tuple(path for path, places in gone.items() if len(places) == held[path])
    marked = {path: places for path, places in gone.items() if path not in emptied}
    share = sum(map(len, marked.values())) / (sum(held[path] or 0 for path in marked) or 1)
    return Gone(marked, emptied, new, share)


def look(handle: Handle, sought: Sought, parts: Sequence[Sequence[str]], found: Found, *, by: str | None) -> None:
    """Put with `found` where rows lie that are sought. Only the columns sought by are read, of one part at once.

    by: a column in which what stands may be greater than the NEWEST that comes as its NO: such a row stays.
    """
    held = _held(handle)
    for wanted, candidates in _apart(handle, sought, parts, held):
        names = dict(zip(full(handle.address, candidates), candidates, strict=True))
        starts = pl.Series([held[path] for path in candidates], dtype=pl.Int64).cum_sum().shift(1, fill_value=0)
        start = dict(zip(candidates, starts, strict=True))
        for (file,), some in _met(handle, wanted, candidates, by).partition_by(_FILE, as_dict=True).items():
            path = names[str(file)]
            places = some[_PLACE].cast(pl.Int64) - start[path]
            if by is not None:
                stands = ~places.is_in(pl.Series(handle.gone.get(path, BitMap()).to_array(), dtype=pl.Int64).implode())
                found.older.update(some.filter(stands & ~some[NEWEST])[NO].to_list())
                places = places.filter(some[NEWEST])
            here = BitMap(places.to_list())
            found.places[path] = found.places[path] | here if path in found.places else here


def _met(handle: Handle, wanted: pl.DataFrame, paths: Sequence[str], by: str | None) -> pl.DataFrame:
    """File and place of the rows that are wanted; with `by` NO of each, and whether that is the NEWEST."""
    rows, on = handle.scan_paths(paths, file=_FILE, place=_PLACE, gone=NOTHING_GONE), sought_by(wanted)
    if by is None:
        return rows.select(*on, _FILE, _PLACE).join(wanted.lazy(), on=on, how="semi").select(_FILE, _PLACE).collect()
    stood = pl.col(_STOOD)
    met = rows.select(*on, _FILE, _PLACE, pl.col(by).alias(_STOOD)).join(wanted.lazy(), on=on)
    wins = stood.is_null() | (pl.col(NEWEST) >= stood).fill_null(value=False)
    return met.select(_FILE, _PLACE, NO, wins.alias(NEWEST)).collect()


def _held(handle: Handle) -> dict[str, int | None]:
    """How many rows each file holds, those that are gone among them, in commit order; None where the log is silent."""
    gone_before = pl.col("gone").fill_null(0) if "gone" in handle.files().columns else 0
    return dict(handle.files().select("path", pl.col("rows") + gone_before).iter_rows())


def _apart(
    handle: Handle, sought: Sought, parts: Sequence[Sequence[str]], held: Mapping[str, int | None]
) -> Iterator[Sought]:
    """By parts; each file alone where the log does not tell at which place it begins, or what it holds."""
    for one in (sought.among(handle, paths) for paths in parts):
        if handle.older.isdisjoint(one.files) and all(held[path] is not None for path in one.files):
            yield from (one for _ in one.files[:1])
        else:
            yield from (Sought(one.wanted, [path]) for path in one.files)
