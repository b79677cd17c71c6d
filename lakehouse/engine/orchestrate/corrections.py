"""What a corrected file no longer holds. Its rows stay; a WARN check names them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import Merge
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.landing import revised_files
from lakehouse.engine.ingest.ledger import Ledger
from lakehouse.engine.orchestrate.inputs import Input
from lakehouse.engine.quality.typed import typed


def no_longer_held(
    declared: Declaration, place: Place, inputs: Sequence[Input], came_out: pl.DataFrame
) -> pl.DataFrame:
    """The keys (with `replaces`, the groups) that an earlier content of a revised file held, and nothing holds now.

    Costs a look at the ledger; the upstream is read again only where a file was revised.
    """
    key = _subject(declared)
    missing = came_out.select(key).clear()
    for each in inputs:
        if each.handle is None or not each.read.upstream.is_bronze:
            continue
        before = _earlier_rows(place, each)
        if before is None:
            continue
        held = _keys(declared, inputs, each, before, key)
        gone = held.join(came_out.select(key), on=key, how="anti")
        if not gone.is_empty():
            elsewhere = _keys(declared, inputs, each, _other_files(place, each), key)
            missing = pl.concat([missing, gone.join(elsewhere, on=key, how="anti")])
    return missing.unique().sort(key)


def _subject(declared: Declaration) -> list[str]:
    replaces = declared.write.replaces if isinstance(declared.write, Merge) else None
    return [replaces] if replaces else declared.key_columns


def _revised(place: Place, each: Input) -> list[tuple[str, int]]:
    upstream = each.read.upstream
    batches = each.stored.select(pl.col("batch").unique()).collect()["batch"].to_list()
    bronze = Handle.open(place.table(upstream))
    return list(revised_files(Ledger.open(upstream, place.ledger(upstream), bronze), batches))


def _earlier_rows(place: Place, each: Input) -> pl.LazyFrame | None:
    revised = _revised(place, each)
    if not revised or each.handle is None:
        return None
    earlier = [(pl.col("source_file") == name) & (pl.col("batch") < batch) for name, batch in revised]
    return each.handle.scan().filter(pl.any_horizontal(earlier))


def _other_files(place: Place, each: Input) -> pl.LazyFrame:
    assert each.handle is not None
    names = [name for name, _ in _revised(place, each)]
    return each.handle.scan().filter(~pl.col("source_file").is_in(names))


def _keys(
    declared: Declaration, inputs: Sequence[Input], each: Input, stored: pl.LazyFrame, key: list[str]
) -> pl.DataFrame:
    """The keys that come out of `stored` when every other parameter is empty."""
    frames = [
        typed(one.read.upstream.contract, stored) if one is each else one.frame.clear() for one in inputs
    ]  # fmt: skip
    return declared.transform(*frames).select(key).unique().collect()
