"""What a corrected file no longer holds. Its rows stay; a WARN check names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import polars as pl

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import History, Merge, Reading
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.landing import current_contents
from lakehouse.engine.ingest.ledger import Ledger
from lakehouse.engine.orchestrate.inputs import Input, Rows, replaced_group
from lakehouse.engine.quality.typed import typed

_CONTENT = ["source_file", "batch"]


def watches_corrections(declared: Declaration) -> bool:
    """Whether a row of it may be one that a corrected file no longer holds."""
    return isinstance(declared.write, Merge) and any(
        read.upstream.is_bronze and read.reading is Reading.NEW for read in declared.reads
    )


def no_longer_held(
    declared: Declaration, inputs: Sequence[Rows], newest: Sequence[Contents | None], out: pl.Schema
) -> pl.DataFrame:
    """The keys (with `replaces`, the groups) that an earlier content of a revised file held, and no file holds now.

    An upstream is read again only where a file was revised.
    """
    group = replaced_group(declared)
    key = [group] if group else declared.key_columns
    missing = [pl.DataFrame(schema={name: out[name] for name in key})]
    for each, newest_of in zip(inputs, newest, strict=True):
        if newest_of is None or not newest_of.revised:
            continue
        stored, revised = _stored(each), pl.col("source_file").is_in(newest_of.revised)
        keys = _keys_of(declared, inputs, each, key)
        held = keys(_earlier(each, newest_of))
        now = newest_of.only(stored)
        gone = held.join(keys(now.filter(revised)), on=key, how="anti")
        if not gone.is_empty():
            gone = gone.join(keys(now.filter(~revised)), on=key, how="anti")
        missing.append(gone)
    return pl.concat(missing).unique().sort(key)


def held_before(
    declared: Declaration, inputs: Sequence[Rows], newest: Sequence[Contents | None], columns: list[str]
) -> pl.DataFrame:
    """These columns of what comes out of the earlier contents of the files that were revised, each value once."""
    held = [
        _keys_of(declared, inputs, each, columns)(_earlier(each, newest_of))
        for each, newest_of in zip(inputs, newest, strict=True)
        if newest_of and newest_of.revised
    ]
    return pl.concat([pl.DataFrame(schema={name: declared.schema[name] for name in columns}), *held]).unique()


def _earlier(each: Rows, newest: Contents) -> pl.LazyFrame:
    """The rows of the earlier contents of revised files, as they are stored."""
    revised = _stored(each).filter(pl.col("source_file").is_in(newest.revised))
    return revised.join(newest.current, on=_CONTENT, how="anti")


def _stored(each: Rows) -> pl.LazyFrame:
    return replace(each.input, whole=True, slices=None).stored


class Contents(NamedTuple):
    """Where the newest content of each file of a bronze upstream is, and which of the due files were revised."""

    current: pl.LazyFrame
    revised: list[str]

    def only(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Without the rows of a file's earlier contents."""
        return rows.join(self.current, on=_CONTENT, how="semi", maintain_order="left")


def read_with_contents(
    declared: Declaration, place: Place, inputs: Sequence[Input]
) -> tuple[tuple[Rows, ...], tuple[Contents | None, ...]]:
    """The due rows of every parameter; and of a bronze upstream where its contents are, if the table asks for that.

    The ledger that says so is read meanwhile.
    """
    asks = isinstance(declared.write, History) or watches_corrections(declared)
    with ThreadPoolExecutor(1) as beside:
        newest = [
            beside.submit(_contents, place, each) if asks and each.read.upstream.is_bronze else None for each in inputs
        ]
        rows = tuple(each.rows() for each in inputs)
        return rows, tuple(each and each.result() for each in newest)


def _contents(place: Place, each: Input) -> Contents:
    upstream, handle = each.read.upstream, each.handle
    ledger = place.ledger_beside(handle.address, upstream) if handle else place.ledger(upstream)
    current = current_contents(Ledger.open(upstream, ledger, handle))
    revised = current.filter("revised")
    if handle and each.since is not None and not each.whole and not revised.is_empty():
        before = Handle.open(handle.address, each.since)
        revised = revised.filter(pl.col("batch") > ((before and before.transaction(upstream.key)) or 0))
    return Contents(current.lazy(), revised["source_file"].to_list())


type _Keys = Callable[[pl.LazyFrame], pl.DataFrame]


def _keys_of(declared: Declaration, inputs: Sequence[Rows], each: Rows, key: list[str]) -> _Keys:
    """The keys that come out of some stored rows of `each`, when every other parameter is as it is in this run."""

    def keys(stored: pl.LazyFrame) -> pl.DataFrame:
        read = typed(each.input.read.upstream.contract, stored).lazy()
        out = declared.transform(*(read if one is each else one.frame for one in inputs))
        return out.select(key).unique().collect()

    return keys
