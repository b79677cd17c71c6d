"""`readers=` on a table: who reads it beside us is known to every commit."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import polars as pl
import pytest

from lakehouse import Frame, Measure, Merge, New, Quarantine, Reader, Silver, column, table
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.readers import EVERY_READER
from lakehouse.engine.orchestrate.table import Table
from lakehouse_tests.engine.orchestrate.test_assets import House, Slips, counts, slips

type WallClock = Annotated[datetime, Measure(pl.Datetime("us"), "local time")]
AT = pl.datetime(2024, 3, 31, 1, 30)


class Clocked(Silver):
    """One row per slip. Source: this test."""

    no: str = column("Number of the slip", key=True)
    at: WallClock = column("When the clerk's clock said so")


def clocked_for(readers: Sequence[Reader]) -> Table:
    @table(write=Merge(), rejects=Quarantine(), readers=readers)
    def clocked(sent: New[Slips]) -> Frame[Clocked]:
        return sent.select("no", at=AT)

    return clocked


def test_a_table_is_for_every_reader_where_none_is_named():
    assert counts.declaration.readers == slips.declaration.readers == EVERY_READER


def test_a_column_that_a_named_reader_cannot_read_is_refused_when_the_file_is_loaded():
    with pytest.raises(
        DeclarationError, match=r"^silver/clocked would need .*timestampNtz for its column at .*synapse"
    ):
        clocked_for([Reader.DATABRICKS, Reader.SYNAPSE])


def test_what_is_no_reader_is_refused_when_the_file_is_loaded():
    said: list[Reader] = ["trino"]  # type: ignore[list-item]
    with pytest.raises(DeclarationError, match=r"readers='trino' is no reader; there are Reader\.DELTA_RS"):
        clocked_for(said)


def test_a_table_holds_what_all_of_its_readers_read(tmp_path: Path):
    house, clocked = House(tmp_path), clocked_for([Reader.DATABRICKS, Reader.DELTA_RS])
    expected = [(no, pl.select(AT).item()) for no in ("1", "2")]
    for no in ("1", "2"):
        house.land(no, f'{{"no": "{no}", "pieces": "2"}}')
        assert house.run(slips, clocked).success
    assert house.rows("silver/clocked") == expected
