from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from lakehouse.engine.quality.typed import Typed, typed
from lakehouse.tables.bronze.fx_monthly import FxMonthly, fx_monthly
from lakehouse_tests.driver import House, red


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def landed(house: House, *lines: str) -> Typed:
    """What is read of a file of these lines."""
    text = "".join(f"{line}\r\n" for line in ("Date,Country,Exchange rate", *lines))
    house.land("reference/fx_monthly.csv.gz", text)
    assert red(house.run(fx_monthly.declaration)) == {}
    return typed(FxMonthly, house.rows(fx_monthly.declaration).lazy())


def test_a_rate_is_read_under_the_names_of_its_source(house: House):
    read = landed(house, "2010-12-01,United Kingdom,0.6412", "2021-08-01,Venezuela,4087157.9407").read
    assert read.select("month", "country", "rate").rows() == [
        (date(2010, 12, 1), "United Kingdom", Decimal("0.6412")),
        (date(2021, 8, 1), "Venezuela", Decimal("4087157.9407")),
    ]


def test_a_rate_of_more_decimals_than_the_source_has_is_not_rounded(house: House):
    parted = landed(house, "2010-12-01,United Kingdom,0.64125")
    assert (parted.read.height, parted.unread.height) == (0, 1)
