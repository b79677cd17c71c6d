"""Tables as each way of writing and keeping them leaves them, and the rows that every engine must read of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.ports import Address, Found
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.delta import quarantine, store
from lakehouse.engine.delta.checkpoints import Checkpoints
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.optimize import Aim, compact, without_vectors, zorder
from lakehouse.engine.delta.place import log_name
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.retention import promise
from lakehouse.engine.delta.vacuum import plan_vacuum, sweep
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge, prepare_overwrite, replace_slice
from lakehouse.engine.ingest.ledger import ACCEPTED, SMALL_FILES, Entry, Ledger
from lakehouse_tests.engine.delta.opening import opened

SCHEMA = pl.Schema({"id": pl.Int64(), "note": pl.String()})
ODD = ["a b", "it's 50%", "x=y&z:ü?*", "a/b", "%20", "ö\t", "#?", "日本"]
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
DIGITS = Decimal("9" * 28 + "." + "9" * 10)
NAIVE_IS_READ_BY = (Reader.DELTA_RS, Reader.DATABRICKS)
VECTORS_ARE_READ_BY = (Reader.DELTA_RS, Reader.DATABRICKS)


def assert_equal(seen: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Row for row, in any order."""
    assert_frame_equal(seen, expected, check_exact=True, check_row_order=False)


def rows(*ids: int, note: str = "n") -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "note": [f"{note}{i}" for i in ids]}, schema=SCHEMA)


def made(address: Address, frame: pl.DataFrame, partition_by: tuple[str, ...] = ()) -> Handle:
    return prepare_append(Handle.create(address, frame.schema, partition_by=partition_by), frame).commit({}, {}).handle


def nothing(address: Address) -> pl.DataFrame:
    Handle.create(address, SCHEMA)
    return rows()


def appended(address: Address) -> pl.DataFrame:
    prepare_append(made(address, rows(1, 2)), rows(3)).commit({"position": 7}, {"note": "é"})
    return rows(1, 2, 3)


def overwritten(address: Address) -> pl.DataFrame:
    overwrite(made(address, rows(1, 2)), rows(2, 5, note="z"), {}, {})
    return rows(2, 5, note="z")


def merged(address: Address) -> pl.DataFrame:
    handle = prepare_append(made(address, rows(1, 2, 3)), rows(4)).commit({}, {}).handle
    prepare_merge(handle, rows(2, 9, note="z"), ["id"]).commit({}, {})
    return pl.concat([rows(1, 3, 4), rows(2, 9, note="z")])


def slice_replaced(address: Address) -> pl.DataFrame:
    replace_slice(made(address, rows(1, 2, 3)), rows(3, note="z"), pl.col("id") >= 2, {}, {})
    return pl.concat([rows(1), rows(3, note="z")])


def reshaped(address: Address) -> pl.DataFrame:
    frame = rows(1, 2).with_columns(qty=pl.lit(None, pl.Int32), price=pl.lit(Decimal("1.50"), pl.Decimal(10, 2)))
    prepare_overwrite(made(address, rows(1)), frame, frame.schema).commit({}, {})
    return frame


def in_folders(address: Address) -> pl.DataFrame:
    ids = list(range(len(ODD) + 1))
    frame = pl.DataFrame({"id": ids, "odd": [*ODD, None], "day": [date(2024, 2, 29), None, *[date(1, 1, 1)] * 7]})
    moved = frame.with_columns(pl.col("odd").reverse())
    prepare_merge(made(address, frame, ("odd", "day")), moved, ["id"]).commit({}, {})
    return moved


def in_other_folders(address: Address) -> pl.DataFrame:
    """Made anew by other columns, in one version, and added to."""
    frame = rows(1, 2, 3).with_columns(odd=pl.Series(["a b", None, "x=y"]), day=pl.lit(date(2024, 2, 29)))
    moved = prepare_overwrite(made(address, frame, ("day",)), frame, frame.schema, by=("odd",)).commit({}, {}).handle
    later = rows(4).with_columns(odd=pl.lit("a b"), day=pl.lit(None, pl.Date))
    prepare_append(moved, later).commit({}, {})
    return pl.concat([frame, later])


def of_every_type(address: Address) -> pl.DataFrame:
    lines = pl.List(pl.Struct({"sku": pl.String, "at": pl.Datetime("us", "UTC"), "tags": pl.List(pl.Int16)}))
    columns = {
        "id": pl.Int64, "small": pl.Int8, "short": pl.Int16, "whole": pl.Int32, "half": pl.Float32, "real": pl.Float64,
        "yes": pl.Boolean, "text": pl.String, "bytes": pl.Binary, "day": pl.Date, "at": pl.Datetime("us", "UTC"),
        "money": pl.Decimal(38, 10), "lines": lines, "one": pl.Struct({"a": pl.Int64, "b": pl.String}),
    }  # fmt: skip
    line = {"sku": "é", "at": FIRST, "tags": [1, None]}
    least = (-(2**63), -128, -(2**15), -(2**31), -1.5, float("-inf"), False, "", b"", FIRST.date(), FIRST, -DIGITS)
    most = (2**63 - 1, 127, 2**15 - 1, 2**31 - 1, 0.1, 5e-324, True, "\x00\U0001f600", b"\x00\xff", LAST.date(), LAST)
    frame = pl.DataFrame(
        [
            (*least, [], {"a": None, "b": ""}),
            (*most, DIGITS, [line, None], {"a": 1, "b": "x"}),
            (1, *[None] * 13),
            (2, 0, 0, 0, float("nan"), float("nan"), True, "x" * 100, b"x", date(1582, 10, 10),
             datetime(1582, 10, 10, tzinfo=UTC), Decimal(0), [{"sku": None, "at": None, "tags": None}], None),
        ],
        schema=columns,
        orient="row",
    )  # fmt: skip
    made(address, frame)
    return frame


def after_many_commits(address: Address) -> pl.DataFrame:
    handle = Handle.create(address, SCHEMA)
    for number in range(1, 2 * CHECKPOINT_EVERY + 6):
        handle = prepare_append(handle, rows(number)).commit({"position": number}, {}).handle
        if number % 7 == 0:
            handle = prepare_merge(handle, rows(number, note="z"), ["id"]).commit({}, {}).handle
    assert list(Checkpoints(address))
    changed = [number for number in range(1, 2 * CHECKPOINT_EVERY + 6) if number % 7 == 0]
    return pl.concat([rows(*changed, note="z"), rows(*set(range(1, 2 * CHECKPOINT_EVERY + 6)) - set(changed))])


def by_wall_clock(address: Address) -> pl.DataFrame:
    frame = pl.DataFrame({"id": [1, 2], "at": [LAST.replace(tzinfo=None), None]})
    handle = Handle.create(address, frame.schema, readers=NAIVE_IS_READ_BY)
    prepare_append(for_readers(handle, NAIVE_IS_READ_BY), frame).commit({}, {})
    return frame


def by_vectors(address: Address) -> pl.DataFrame:
    handle = for_readers(made(address, rows(*range(1, 40))), VECTORS_ARE_READ_BY)
    handle = prepare_merge(handle, rows(2, 50, note="z"), ["id"]).commit({}, {}).handle
    handle = for_readers(handle, VECTORS_ARE_READ_BY)
    assert prepare_merge(handle, rows(3, 4, note="y"), ["id"]).commit({}, {}).handle.gone
    kept = [number for number in range(1, 40) if number not in {2, 3, 4}]
    return pl.concat([rows(*kept), rows(2, 50, note="z"), rows(3, 4, note="y")])


def freed_of_vectors(address: Address) -> pl.DataFrame:
    expected = by_vectors(address)
    handle = without_vectors(opened(address), EVERY_READER)
    prepare_append(for_readers(handle, EVERY_READER), rows(90)).commit({}, {})
    assert opened(address).protocol == (1, 7)
    return pl.concat([expected, rows(90)])


def compacted(address: Address) -> pl.DataFrame:
    expected = in_folders(address)
    late = expected.head(3).with_columns(pl.col("id") + 100)
    handle = prepare_append(opened(address), late).commit({}, {}).handle
    assert compact(handle, Aim(in_order=False)).rewritten
    return pl.concat([expected, late])


def compacted_over_vectors(address: Address) -> pl.DataFrame:
    expected = by_vectors(address)
    done = compact(for_readers(opened(address), VECTORS_ARE_READ_BY), Aim())
    assert (done.after.files, len(done.handle.vectors)) == (1, 0)
    return expected


def laid_by_columns(address: Address) -> pl.DataFrame:
    frame = of_every_type(address)
    numbered = (frame.with_columns(pl.lit(number, pl.Int64).alias("id")) for number in range(9))
    handle, expected = opened(address), pl.concat([frame, *numbered])
    handle = prepare_append(handle, expected.tail(-frame.height)).commit({}, {}).handle
    assert zorder(handle, ["id", "money"], Aim(rows=8)).after.files > 1
    return expected


def put_back(address: Address) -> pl.DataFrame:
    expected = merged(address)
    then = opened(address)
    overwrite(then, rows(70, 80), {}, {})
    restore(prepare_restore(opened(address), then.version), aside(address))
    return expected


def put_back_to_vectors(address: Address) -> pl.DataFrame:
    """What a compaction had folded in counts again, in a file that holds more rows than the table."""
    expected = compacted_over_vectors(address)
    assert restore(prepare_restore(opened(address), opened(address).version - 1), aside(address)).gone
    return expected


def put_back_to_fewer_columns(address: Address) -> pl.DataFrame:
    expected = appended(address)
    then = opened(address)
    overwrite(evolve(then, pl.Schema({**SCHEMA, "more": pl.Int32()}), {}), rows(9).with_columns(more=1), {}, {})
    restore(prepare_restore(opened(address), then.version), aside(address))
    return expected


NARROW = {
    "id": pl.Int32(), "part": pl.Int16(), "real": pl.Float32(), "money": pl.Decimal(5, 2), "whole": pl.Int64(),
    "day": pl.Date(), "list": pl.List(pl.Int8()), "one": pl.Struct({"a": pl.Int16()}),
}  # fmt: skip
WIDE = {
    "id": pl.Int64(), "part": pl.Int32(), "real": pl.Float64(), "money": pl.Decimal(20, 4), "whole": pl.Decimal(38, 2),
    "day": pl.Datetime("us", "UTC"), "list": pl.List(pl.Int32()), "one": pl.Struct({"a": pl.Int64(), "b": pl.String}),
    "new": pl.String(),
}  # fmt: skip


def widened(address: Address) -> pl.DataFrame:
    """First by the columns of the table, then by the rows that come."""
    least, most = (2**31 - 1, -(2**15), 0.1, Decimal("-999.99"), -(2**63)), (-1, 2**15 - 1, 1e38, Decimal(0), 2**63 - 1)
    narrow = pl.DataFrame(
        [(*least, FIRST.date(), [1, None], {"a": 2**15 - 1}), (*most, LAST.date(), [], None), (3, *[None] * 7)],
        NARROW,
        orient="row",
    )
    wide = pl.DataFrame(
        [(2**63 - 1, 2**31 - 1, 0.1, Decimal("9" * 16), Decimal("9" * 36), LAST, [2**31 - 1], {"a": 2**63 - 1}, "é")],
        WIDE,
        orient="row",
    )
    handle = evolve(made(address, narrow, ("part",)), pl.Schema(WIDE), {})
    handle = prepare_append(handle, wide).commit({}, {}).handle
    came = wide.with_columns(pl.lit(7, pl.Int8).alias("id"), pl.lit([7], pl.List(pl.Int8)).alias("list"))
    prepare_append(handle, came).commit({}, {})
    then = pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    field = pl.col("one").struct.field("a").cast(pl.Int64)
    one = pl.when(pl.col("one").is_not_null()).then(pl.struct(a=field, b=pl.lit(None, pl.String)))
    stood = narrow.with_columns(then, one=one, new=pl.lit(None, pl.String)).cast(WIDE)  # type: ignore[arg-type] # by name
    return pl.concat([stood, wide, came.cast(WIDE)])  # type: ignore[arg-type] # by name


def cleaned(address: Address) -> pl.DataFrame:
    expected = after_many_commits(address)
    swept(promise(opened(address), 168))
    return expected


def cleaned_of_all_but_vectors(address: Address) -> pl.DataFrame:
    """A checkpoint alone tells of the vectors."""
    expected = by_vectors(address)
    swept(opened(address))
    return expected


def swept(handle: Handle) -> None:
    """Taken away is all but the newest version, whose log is a checkpoint."""
    handle.checkpoint()
    sweep(plan_vacuum(handle, 0, {}))
    there = store.sizes(handle.address)
    assert log_name(0) not in there, "its log is cleaned up"
    held = {*handle.files()["path"], *(each.file for each in handle.vectors.values())}
    assert {name for name in there if not name.startswith("_delta_log/")} == held


def set_aside(address: Address) -> pl.DataFrame:
    """A quarantine, of which one attempt lost."""
    table = made(aside(address), rows(1))
    at = datetime(2024, 5, 1, 9, tzinfo=UTC)
    bad = pl.DataFrame(
        [("u", "s", "é/f", 2**40, 1, "broke", ["a, b", 'c"'], '{"x": "\n"}', at), (*[None] * 6, [], None, LAST)],
        schema=quarantine.ROWS,
        orient="row",
    )
    lost = quarantine.write(table, address, bad, whole=False)
    won = quarantine.write(table, address, bad.tail(1), whole=False)
    table = prepare_append(table, rows(2)).commit(won.transactions, {}).handle
    quarantine.settle(table, address)
    open_yet = quarantine.write(table, address, bad, whole=False)
    assert lost.transactions != won.transactions
    each = ((bad.tail(1), won), (bad, open_yet))
    return pl.concat(
        rows_of.select(
            pl.lit(attempt.version, pl.Int64).alias("version"),
            pl.lit(attempt.transactions[quarantine.ATTEMPT], pl.Int64).alias("attempt"),
            *quarantine.ROWS,
        )
        for rows_of, attempt in each
    )


def kept_account(address: Address) -> pl.DataFrame:
    """A ledger, of which small files were laid together."""
    ledger = Ledger("bronze/t", address, None, 0, None)
    entries = [
        Entry(ACCEPTED, Found(f"dt=2024-05-01/{number} é.csv", number, FIRST, "0x8"), "ab", number, number)
        for number in range(SMALL_FILES + 2)
    ]
    for entry in entries:
        ledger, plan = ledger.commit([entry])
        ledger = replace(ledger, applied=plan.number, applied_plan=plan.identity)
    stands = opened(address)
    assert len(stands.files()) < SMALL_FILES
    done = ledger.done()
    assert done["name"].to_list() == [each.found.name for each in entries]
    return done


def aside(address: Address) -> Address:
    """A table beside it."""
    return replace(address, uri=f"{address.uri}_aside")


WAYS: list[Callable[[Address], pl.DataFrame]] = [
    nothing, appended, overwritten, merged, slice_replaced, reshaped, in_folders, in_other_folders, of_every_type,
    after_many_commits, by_wall_clock, by_vectors, freed_of_vectors, compacted, compacted_over_vectors,
    laid_by_columns, put_back, put_back_to_vectors, put_back_to_fewer_columns, widened, cleaned,
    cleaned_of_all_but_vectors, set_aside, kept_account,
]  # fmt: skip
