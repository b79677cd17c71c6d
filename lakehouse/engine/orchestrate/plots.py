"""Small plots of one run in its metadata: which days its rows are of, and why rows were set aside.

What they cost grows with the rows of the run and never with the table: they are drawn from the frames that it delivers.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

import dagster as dg
import polars as pl
from rich.bar import Bar
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.text import date_text, pieces
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.quality.text import read_text
from lakehouse.engine.quality.why import common_reason

BARS = 31
"""A month's days fit; of more the next longer span is taken."""
REASONS = 10
BAR_CHARACTERS, LABEL_CHARACTERS = 30, 80
_SPANS = (("day", "1d", "%Y-%m-%d"), ("month", "1mo", "%Y-%m"), ("year", "1y", "%Y"))
_UNDATED = "no date"
_WIDTHS = {"%Y": 4, "%m": 2, "%b": 3, "%d": 2}
_CLOCK = {"%H", "%M", "%S"}


def plots(declared: Declaration, delivery: Delivery) -> dict[str, dg.MarkdownMetadataValue]:
    """`rows per day` (month, year) and `rejects by reason`; neither where there is nothing to draw."""
    return rows_by_time(declared, delivery.accepted) | rejects_by_reason(delivery.rejected)


def rows_by_time(declared: Declaration, rows: pl.DataFrame) -> dict[str, dg.MarkdownMetadataValue]:
    """The rows by the day of the contract's first column that holds one and is not personal, in that column's zone.

    In bronze it is the day that the text begins with; to read half a million times exactly would take a second. Spans
    of which no row is are left out; of more than BARS years the first are one bar.
    """
    times = (each for each in columns_of(declared.contract) if each.dtype.is_temporal() and not each.personal)
    column = next(times, None)
    if column is None or rows.is_empty():
        return {}
    is_text = rows.schema[column.name] == pl.String
    days = _days_as_written(rows, column) if is_text else _days(rows, column)
    if days is None:
        return {}
    span, bars = _by_span(days)
    zone = "as it is written" if is_text else getattr(column.dtype, "time_zone", None)
    return {f"rows per {span}": _drawn(f"by {column.name}{f' ({zone})' if zone else ''}", bars)}


def _days(rows: pl.DataFrame, column: Column) -> pl.DataFrame:
    """Rows by day, null where there is none."""
    return rows.lazy().group_by(pl.col(column.name).cast(pl.Date).alias("day")).agg(rows=pl.len()).collect()


def _days_as_written(rows: pl.DataFrame, column: Column) -> pl.DataFrame | None:
    """The same of text, null where it does not read; None where the column's text does not begin with its day."""
    pattern = getattr(column.text, "pattern", "%Y-%m-%d")
    places = [place for place, piece in enumerate(pieces(pattern)) if piece in _WIDTHS]
    day = pieces(pattern)[: places[2] + 1]
    if set(day) & _CLOCK:
        return None
    texts = rows.lazy().group_by(text=pl.col(column.name).str.head(sum(_WIDTHS.get(piece, 1) for piece in day)))
    texts = texts.agg(rows=pl.len())
    read = read_text(pl.col("text"), Column("day", pl.Date(), text=date_text("".join(day))))
    return texts.group_by(read.alias("day")).agg(pl.col("rows").sum()).collect()


def _by_span(days: pl.DataFrame) -> tuple[str, list[tuple[str, int]]]:
    """The shortest span of which there are few enough, and its bars."""
    span, bars = "", list[tuple[str, int]]()
    for span, every, form in _SPANS:
        spans = days.with_columns(pl.col("day").dt.truncate(every)).group_by("day").agg(pl.col("rows").sum())
        told = spans.sort("day", nulls_last=True).rows()
        bars = [(_UNDATED if day is None else format(day, form), count) for day, count in told]
        if len(bars) <= BARS + 1:  # one may be that of rows without
            return span, bars
    first = len(bars) - BARS
    return span, [(f"until {bars[first - 1][0]}", sum(count for _, count in bars[:first])), *bars[first:]]


def rejects_by_reason(rejected: pl.DataFrame) -> dict[str, dg.MarkdownMetadataValue]:
    """How many of the rows that are set aside have each reason, without the values that stand in it; greatest first."""
    if rejected.is_empty():
        return {}
    file = pl.when(pl.col("kind") == "file").then("source_file").alias("source_file")
    together = pl.col("reasons").list.join("\0").alias("together")
    reasons = (
        rejected.lazy()
        .group_by("kind", "upstream", file, together)
        .agg(pl.col("reasons").first().alias("reason"), rows=pl.len())
        .with_row_index()
        .explode("reason")
        .select("index", "rows", reason=common_reason())
        .drop_nulls("reason")
        .unique()
        .group_by("reason")
        .agg(pl.col("rows").sum())
        .sort("rows", "reason", descending=[True, False])
        .collect()
    )
    bars = reasons.head(REASONS).rows()
    if rest := reasons[REASONS:]["rows"].sum():
        bars.append((f"{reasons.height - REASONS:,} more reasons", rest))
    return {"rejects by reason": _drawn("a row may have several", bars)}


def _drawn(what: str, bars: Sequence[tuple[str, int]]) -> dg.MarkdownMetadataValue:
    """Bars in a fence, which Dagster's UI shows in letters of one width, under a line that says what they count."""
    drawn = Drawn(box=None, show_header=False, padding=(0, 1, 0, 0))
    drawn.add_column(no_wrap=True)
    drawn.add_column()
    drawn.add_column(justify="right")
    most = max(count for _, count in bars)
    for label, count in bars:
        drawn.add_row(Text(_cut(label)), Bar(most, 0, count, width=BAR_CHARACTERS), f"{count:,}")
    paper = StringIO()
    Console(file=paper, width=LABEL_CHARACTERS + 2 * BAR_CHARACTERS, color_system=None).print(drawn)
    lines = "\n".join(line.rstrip() for line in paper.getvalue().splitlines())
    return dg.MetadataValue.md(f"{what}\n\n```\n{lines}\n```")


def _cut(label: str) -> str:
    said = " ".join(label.replace("`", "'").split())
    return said if len(said) <= LABEL_CHARACTERS else f"{said[: LABEL_CHARACTERS - 1]}…"
