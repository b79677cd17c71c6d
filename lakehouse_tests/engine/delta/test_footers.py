import json
from datetime import UTC
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.footers import Told, told
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.statistics import flat_columns, measure
from lakehouse.engine.delta.store import end_of

TEXTS = st.text(st.sampled_from("aZé£\ud7ff\uffff\U0001f600\U0010ffff\x00 '"), max_size=40)
COLUMNS = {
    "text": (pl.String(), TEXTS),
    "flag": (pl.Boolean(), st.booleans()),
    "raw": (pl.Binary(), st.binary(max_size=80)),
    "i8": (pl.Int8(), st.integers(-128, 127)),
    "i32": (pl.Int32(), st.integers(-(2**31), 2**31 - 1)),
    "i64": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "f64": (pl.Float64(), st.floats()),
    "short": (pl.Decimal(7, 2), st.decimals(-(10**4), 10**4, places=2)),
    "long": (pl.Decimal(18, 0), st.decimals(-(10**17), 10**17, places=0)),
    "longest": (pl.Decimal(38, 3), st.decimals(-(10**34), 10**34, places=3)),
    "day": (pl.Date(), st.integers(-(2**31), 2**31 - 1)),
    "at": (pl.Datetime("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "wall": (pl.Datetime("us"), st.datetimes()),
    "lines": (pl.List(pl.Int64()), st.lists(st.integers(0, 9), max_size=3)),
}


def footer_of(file: Path) -> Told:
    schema = flat_columns(pl.Schema(pl.read_parquet_schema(file)))
    return told(partial(end_of, Address(str(file.parent)), file.name, file.stat().st_size), schema)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 4))
def test_a_footer_says_of_every_type_what_its_rows_say(data, rows_of_a_group):
    count = data.draw(st.integers(0, 9))
    drawn = {
        name: data.draw(st.lists(st.none() | values, min_size=count, max_size=count))
        for name, (_, values) in COLUMNS.items()
    }
    frame = pl.DataFrame(
        [
            pl.Series(name, drawn[name], pl.Int32() if isinstance(dtype, pl.Date) else dtype).cast(dtype)
            for name, (dtype, _) in COLUMNS.items()
        ]
    )
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        frame.write_parquet(file, row_group_size=rows_of_a_group)
        (by_rows,), (by_footer,) = (
            measure([pl.scan_parquet(file)], frame.schema, known) for known in ((), [footer_of(file)])
        )
    rows, footer = json.loads(by_rows), json.loads(by_footer)
    least, of_footer = rows["minValues"].pop("text", None), footer["minValues"].pop("text", None)
    assert (least is None) is (of_footer is None)
    assert least is None or least.startswith(of_footer)  # Polars cuts a text to 64 bytes
    assert len(of_footer or "") >= min(16, len(least or ""))
    assert footer == rows


def test_a_column_is_read_only_where_its_footer_does_not_tell_enough(tmp_path):
    def refuse(_: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError("the rows were read")

    frame = pl.DataFrame({"id": [1, 2], "share": [0.5, None]})
    frame.write_parquet(tmp_path / "told.parquet")
    frame.write_parquet(tmp_path / "untold.parquet", statistics=False)
    known = footer_of(tmp_path / "told.parquet")
    assert known.counts == {"rows": 2, "n id": 0}
    unread = frame.lazy().map_batches(refuse, schema=frame.schema)
    assert json.loads(measure([unread], pl.Schema({"id": pl.Int64()}), [known])[0])["maxValues"] == {"id": 2}
    untold = footer_of(tmp_path / "untold.parquet")
    assert untold.counts == {"rows": 2}
    assert measure([frame.lazy()], frame.schema, [untold]) == measure([frame.lazy()], frame.schema, [known])


def test_a_footer_that_is_longer_than_what_is_asked_for_first_is_read_whole(address):
    frame = pl.DataFrame({f"column_{place}": [place, None] for place in range(1_000)})
    (file,) = write_files(Handle.create(address, frame.schema), frame.lazy())
    assert json.loads(file.statistics)["maxValues"] == {f"column_{place}": place for place in range(1_000)}
    assert file.statistics == measure([frame.lazy()], frame.schema)[0]


def test_rows_are_counted_where_no_column_is_measured():
    frame = pl.DataFrame({"lines": [[1], [2], None]})
    assert json.loads(measure([frame.lazy()], frame.schema)[0])["numRecords"] == 3
    assert json.loads(measure([frame.lazy()], pl.Schema())[0])["numRecords"] == 3
