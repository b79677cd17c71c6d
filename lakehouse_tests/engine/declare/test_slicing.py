"""Slices: what `ReplacePartition` and `Affected` may be told, and the sentence for each thing that they may not."""

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.dtypes import Gbp, Int32, Utc
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Affected, Frame, New
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append, History, Merge, Overwrite, Quarantine, ReplacePartition, Write
from lakehouse_tests.engine.declare.test_table import Logged, fresh, refused, table

KEY, EMPTY = {"key": True}, {"nullable": True}


class Came(Bronze):
    """One row per order, as sent."""

    order_no: str = column("Number")
    day: date = column("Day")


class Sold(Silver):
    """One row per order."""

    order_no: str = column("Number", key=True)
    day: date = column("Day")
    hour: Utc = column("Hour")
    net: Gbp = column("Net")
    place: Int32 = column("Shop", nullable=True)


class Plain(Silver):
    """One row per order, without a day."""

    order_no: str = column("Number", key=True)


class Stored(Silver):
    """One row per order, appended and stored by day."""

    order_no: str = column("Number")
    day: date = column("Day")


def came() -> Frame[Came]: ...  # type: ignore[empty-body]


def sold(rows: New[Came]) -> Frame[Sold]:
    return rows.select("order_no", "day", hour=pl.lit(None, pl.Datetime("us", "UTC")), net=None, place=None).cast(
        {"net": pl.Decimal(38, 3), "place": pl.Int32()}
    )


def stored(rows: New[Came]) -> Frame[Stored]:
    return rows.select("order_no", "day")


def plain(rows: New[Came]) -> Frame[Plain]:
    return rows.select("order_no")


CAME = declare(came, write=Append(), source=Files("came/*.jsonl", formats=JsonLines()))
SOLD = declare(sold, write=Merge())
PLAIN = declare(plain, write=Merge())
FILES = Files("fresh/*.jsonl", formats=JsonLines())
STORED = declare(stored, write=Append(), partition_by="day")
BY_DAY = ReplacePartition("day")
VERSIONED: dict[str, Any] = {"order_no": (str, KEY), "day": (date, KEY), "valid_to": (date, EMPTY)}


def made(*reads: Any, write: Write = BY_DAY, columns: dict[str, Any] | None = None, **words: Any) -> Declaration:
    """A table `fresh` of orders by day, or with these columns."""
    asked: dict[str, Any] = columns or {"day": (date, KEY), "order_no": (str, KEY)}
    named: dict[str, Any] = {
        name: (hint[0], column("It", **hint[1])) if isinstance(hint, tuple) else hint for name, hint in asked.items()
    }
    schema = {"valid_to": pl.Date(), "day": pl.Date(), "order_no": pl.String(), "hour": pl.Datetime("us", "UTC")}

    names = tuple(named)

    def does(*frames: pl.LazyFrame) -> pl.LazyFrame:
        there = frames[0].collect_schema()
        missing = {name: pl.lit(None, schema[name]) for name in names if name in schema and name not in there}
        return frames[0].with_columns(**missing).select(*names)

    return table(Frame[fresh(Silver, **named)], *reads, write=write, does=does, **words)


# ---- the matrix ----

GOES: list[tuple[Write, Any, bool, tuple[str, ...]]] = [
    (BY_DAY, Affected[Sold], False, ("day",)),
    (BY_DAY, Frame[Sold], True, ("day",)),
    (ReplacePartition(("day", "order_no")), Affected[Sold], False, ("day", "order_no")),
    (Merge(), Affected[Sold], False, ("day", "order_no")),
    (Merge(replaces="day"), Affected[Sold], False, ("day",)),
    (Overwrite(), Frame[Sold], True, ()),
]


@pytest.mark.parametrize(("write", "reads", "whole", "columns"), GOES)
def test_what_goes_together(write: Write, reads: Any, *, whole: bool, columns: tuple[str, ...]):
    declared = made(reads, write=write)
    assert (declared.write, declared.is_written_whole, declared.slice_columns) == (write, whole, columns)
    assert declared.reads[0].reading.value == reads.__origin__.__name__
    assert not declared.quarantines
    assert made(reads, write=write, rejects=Quarantine()).quarantines


def test_a_table_by_slices_may_read_other_tables_whole():
    both = made(Affected[Sold], Frame[Plain])
    assert (both.is_written_whole, [each.reading.value for each in both.reads]) == (False, ["Affected", "Frame"])


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "Append of Affected": (
        lambda: made(Affected[Sold], write=Append()),
        (
            "silver/fresh: Append() of Affected slices would write again every row of a slice in which one changed. "
            'Read New[Sold], or write ReplacePartition("<column>") or Merge().'
        ),
    ),
    "Overwrite of Affected": (
        lambda: made(Affected[Sold], write=Overwrite()),
        (
            "silver/fresh: Overwrite() of Affected slices would leave only the slices that changed last. "
            'Read Frame[Sold], or write ReplacePartition("<column>") or Merge().'
        ),
    ),
    "ReplacePartition of New": (
        lambda: made(New[Came]),
        (
            "silver/fresh: ReplacePartition() of New rows would leave of a slice only the rows that came last: a "
            "late row would take the place of its day. Read Affected[Came] or Frame[Came], or write "
            "Append() or Merge()."
        ),
    ),
    "History of Affected": (
        lambda: made(Affected[Logged], write=History(valid_at="day"), columns=VERSIONED),
        "silver/fresh: History() of Affected slices would take the state of a slice for something seen now, at a time",
    ),
    "Affected of bronze": (
        lambda: made(Affected[Came]),
        (
            "silver/fresh: Affected[Came]: bronze/came keeps text, of which the slices are not known before it is "
            "read. Read it as New[…] into a silver table, and Affected[…] of that."
        ),
    ),
    "a column that is not upstream": (
        lambda: made(Affected[Plain]),
        (
            "silver/fresh: Affected[Plain] hands over slices of 'day', by which silver/fresh is written, and "
            "silver/plain has no such column: order_no. Add it there, or read Frame[Plain]."
        ),
    ),
    "another type upstream": (
        lambda: made(Affected[Sold], columns={"day": (str, KEY), "order_no": (str, KEY)}),
        (
            "silver/fresh: Affected[Sold] hands over slices of 'day', which is Date in silver/sold and String here. "
            "Make it one type, or read Frame[Sold]."
        ),
    ),
    "no column of its own": (
        lambda: made(Affected[Sold], write=ReplacePartition("dey")),
        "silver/fresh: ReplacePartition('dey') names no column of Fresh: day, order_no.",
    ),
    "no column at all": (
        lambda: made(Affected[Sold], write=ReplacePartition(())),
        "silver/fresh: ReplacePartition(()) names its columns once each, and at least one.",
    ),
    "a column twice": (
        lambda: made(Affected[Sold], write=ReplacePartition(("day", "day"))),
        "silver/fresh: ReplacePartition(('day', 'day')) names its columns once each, and at least one.",
    ),
    "a sum of money": (
        lambda: made(Frame[Sold], write=ReplacePartition("net"), columns={"net": (Gbp, KEY)}),
        (
            "silver/fresh: ReplacePartition('net'): 'net' is Decimal(precision=38, scale=3), which names no slice; a "
            "String, an integer, a Date or a Utc does."
        ),
    ),
    "a sum of money that is merged by": (
        lambda: made(Affected[Sold], write=Merge(), columns={"net": (Gbp, KEY)}),
        "silver/fresh: Affected[Sold]: 'net' is Decimal(precision=38, scale=3), which names no slice;",
    ),
    "a nullable column": (
        lambda: made(Affected[Sold], columns={"day": (date, EMPTY)}),
        (
            "silver/fresh: ReplacePartition('day'): a row without day would be of no slice that can be replaced. Leave "
            "nullable=True away; such rows then break a rule, and rejects=Quarantine() sets them aside."
        ),
    ),
    "a key that does not hold it": (
        lambda: made(Affected[Sold], columns={"day": date, "order_no": (str, KEY)}),
        (
            "silver/fresh: ReplacePartition('day'): two slices could hold one key (order_no) unseen, since only "
            "those in scope are judged. Mark day with column(…, key=True) too, or write Merge()."
        ),
    ),
}


REFUSED |= {
    "folders of bronze": (
        lambda: table(Frame[fresh(Bronze)], write=Append(), source=FILES, partition_by="order_no"),
        "bronze/fresh: partition_by=order_no: a source may send any text, also one that no folder can be called by",
    ),
    "a folder that is no column": (
        lambda: made(Frame[Sold], partition_by=["day", "dey"], columns={**VERSIONED, "hour": (Utc, {})}),
        "silver/fresh: partition_by=day, dey names no column of Fresh: order_no, day, valid_to, hour.",
    ),
    "a folder of a time": (
        lambda: made(Frame[Sold], partition_by="hour", columns={**VERSIONED, "hour": (Utc, {})}),
        (
            "silver/fresh: partition_by=hour: 'hour' is Datetime(time_unit='us', time_zone='UTC'), which has no exact "
            "name as a folder. Store the table by a String, an integer or a Date, such as the day of a time."
        ),
    ),
    "all columns as folders": (
        lambda: made(Frame[Sold], partition_by=["day", "order_no"]),
        "silver/fresh: partition_by=day, order_no: name each column once, and leave at least one for the files",
    ),
    "a curve by a folder": (
        lambda: made(Frame[Sold], partition_by="day", zorder=["day", "dey"]),
        "silver/fresh: zorder=day, dey: its folders are by day already.",
    ),
    "a curve by no column": (
        lambda: made(Frame[Sold], zorder="dey"),
        "silver/fresh: zorder=dey: it has no column dey; it has day, order_no.",
    ),
    "a curve by one column twice": (
        lambda: made(Frame[Sold], zorder=["day", "day"]),
        "silver/fresh: zorder=day, day: 1 to 4 columns can be named, each once.",
    ),
    "a curve by what is personal": (
        lambda: made(
            Frame[Sold],
            zorder="order_no",
            columns={"day": (date, KEY), "order_no": (str, {"key": True, "personal": True})},
        ),
        "silver/fresh: zorder=order_no: order_no is personal and leaves no ranges in the log.",
    ),
    "a curve of bronze": (
        lambda: table(Frame[fresh(Bronze)], write=Append(), source=FILES, zorder="order_no"),
        "bronze/fresh: zorder=order_no: it is written by Append, and a reader takes the later of two rows: the order",
    ),
    "a merge of rows whose order is not known": (
        lambda: made(New[Stored], write=Merge()),
        (
            "silver/fresh: Merge() lets the later of two rows of one key win, and silver/stored is stored by day: "
            "which of them came later is not known across folders. Say by which column, Merge(newest_by=…), "
            "or leave partition_by= away there."
        ),
    ),
}


@pytest.mark.parametrize(("body", "sentence"), REFUSED.values(), ids=list(REFUSED))
def test_what_does_not_is_refused_with_the_reason_and_the_way_out(body: Callable[[], object], sentence: str):
    assert refused(body).startswith(sentence)


def test_folders_are_one_column_or_several_and_no_part_of_the_logic():
    by_day, by_both = (
        made(Frame[Sold], write=Overwrite(), partition_by=by, columns=VERSIONED) for by in ("day", ["order_no", "day"])
    )
    assert (by_day.partition_by, by_both.partition_by) == (("day",), ("order_no", "day"))
    assert by_day.logic == by_both.logic
    assert made(New[Stored], write=Merge(newest_by="day")).reads[0].upstream is STORED


def test_a_curve_is_of_one_column_or_several_and_no_part_of_the_logic():
    by_day, by_both = (made(Frame[Sold], write=Overwrite(), zorder=by) for by in ("day", ["order_no", "day"]))
    assert (by_day.zorder, by_both.zorder) == (("day",), ("order_no", "day"))
    assert by_day.logic == by_both.logic == made(Frame[Sold], write=Overwrite()).logic


def test_by_what_a_table_is_replaced_is_part_of_its_logic():
    logics = {made(Frame[Sold], write=ReplacePartition(by)).logic for by in ("day", "order_no", ("day", "order_no"))}
    assert len(logics) == 3
    assert made(Affected[Sold]).logic != made(Frame[Sold]).logic
