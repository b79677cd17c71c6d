"""Rows that a run sets aside, as the quarantine stores them: the whole row, every reason, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.quarantine import ROWS
from lakehouse.engine.orchestrate.inputs import Rows
from lakehouse.engine.orchestrate.work import EXAMPLES
from lakehouse.engine.quality.verdict import Verdict
from lakehouse.engine.quality.why import why_unread

_NTH = "nth of its key"
_IS_REJECTED = "is rejected"  # holds a space, so that no column of a table can have this name
_SAME = [name for name in ROWS if name not in ("reasons", "quarantined_at")]


def unread_rows(each: Rows) -> pl.DataFrame:
    """The rows of a bronze upstream that do not read exactly: the whole bronze row, with file and row. Shape ROWS."""
    rows = each.unread
    if rows.is_empty():
        return ROWS.to_frame()
    upstream = each.input.read.upstream
    named = rows.select(
        "source_name",
        "source_file",
        "source_row",
        "batch",
        reasons=why_unread(rows, columns_of(upstream.contract)),
        row=_as_json(rows),
    )
    return _shaped(named, "unread", upstream.key)


def broken_rows(
    declared: Declaration, verdict: Verdict, out: pl.DataFrame, handed: Sequence[tuple[Rows, pl.LazyFrame]]
) -> pl.DataFrame:
    """The output rows that broke a rule, with where their key came from if an upstream has it by name. Shape ROWS."""
    rows = verdict.rejected
    if rows.is_empty():
        return ROWS.to_frame()
    named = rows.select(*declared.key_columns, reasons=verdict.reasons, row=_as_json(rows))
    for each, frame in handed:
        upstream = each.input.read.upstream
        shared = [name for name in declared.key_columns if name in upstream.schema]
        if upstream.is_bronze and shared and "source_file" not in named.columns:
            found = _with_source(named, _places(out, verdict, shared), frame, shared)
            named = found.with_columns(
                source_name=pl.when(pl.col("source_file").is_not_null()).then(pl.lit(upstream.name))
            )
    return _shaped(named, "broke", ", ".join(dict.fromkeys(each.input.read.upstream.key for each, _ in handed)))


def _places(out: pl.DataFrame, verdict: Verdict, shared: list[str]) -> pl.DataFrame:
    """Beside each rejected row: the how-manieth of its key it is among all that came out, and of how many."""
    is_rejected = ~verdict.is_accepted
    keys = out.filter(is_rejected).select(shared).unique()
    # only rows of these keys are counted: to count all costs as much as to judge them
    near = (
        out.select(shared)
        .with_columns(is_rejected.alias(_IS_REJECTED))
        .join(keys, on=shared, how="semi", nulls_equal=True, maintain_order="left")
    )
    counted = near.select(_IS_REJECTED, pl.int_range(pl.len()).over(shared).alias(_NTH), outs=pl.len().over(shared))
    return counted.filter(_IS_REJECTED).drop(_IS_REJECTED)


def _with_source(rows: pl.DataFrame, places: pl.DataFrame, handed: pl.LazyFrame, shared: list[str]) -> pl.DataFrame:
    """File, row and batch of each rejected row: of its key's nth row in, if as many came out, or of its last."""
    nth = pl.int_range(pl.len()).over(shared)
    keys = rows.select(shared).unique().lazy()
    came = handed.select(*shared, "source_file", "source_row", "batch")
    came = came.join(keys, on=shared, how="semi", nulls_equal=True, maintain_order="left").collect()
    wanted = pl.concat([rows, places], how="horizontal").join(
        came.group_by(shared).agg(ins=pl.len()), on=shared, how="left", nulls_equal=True, maintain_order="left"
    )
    at = pl.when(pl.col("ins") == pl.col("outs")).then(pl.col(_NTH)).otherwise(pl.col("ins").cast(pl.Int64) - 1)
    return wanted.with_columns(at.alias(_NTH)).join(
        came.with_columns(nth.alias(_NTH)), on=[*shared, _NTH], how="left", nulls_equal=True, maintain_order="left"
    )


def where_and_why(rows: pl.DataFrame) -> list[str]:
    """Where the first of some rows that are set aside stand in their files, and why they are."""
    first = rows.select("source_file", "source_row", "reasons").head(EXAMPLES)
    return [f"{file}, line {line}: {'; '.join(reasons)}" for file, line, reasons in first.rows()]


def not_yet_there(rows: pl.DataFrame, own: Handle | None, address: Address) -> pl.DataFrame:
    """Without the rows that were set aside by an earlier reading of the same whole upstream."""
    if own is None or rows.is_empty():
        return rows
    there = quarantine.read(own, address).select(_SAME).collect()
    return rows.join(there, on=_SAME, how="anti", nulls_equal=True, maintain_order="left")


def _as_json(rows: pl.DataFrame) -> pl.Series:
    """Whole rows, not a digit lost: JSON has no word for NaN, infinity or bytes, so they stand as text."""
    told = [
        each.bin.encode("hex") if isinstance(each.dtype, pl.Binary)
        else each.cast(pl.String) if each.dtype.is_float() and not each.is_finite().all()
        else each
        for each in rows
    ]  # fmt: skip
    return pl.DataFrame(told).select(row=pl.struct(pl.all()).struct.json_encode()).to_series()


def _shaped(rows: pl.DataFrame, kind: str, upstream: str) -> pl.DataFrame:
    absent = {name: pl.lit(None, dtype) for name, dtype in ROWS.items() if name not in rows.columns}
    said = {
        "kind": pl.lit(kind),
        "upstream": pl.lit(upstream),
        "quarantined_at": pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC")),
    }
    return rows.with_columns(**{**absent, **said}).select(ROWS.names())
