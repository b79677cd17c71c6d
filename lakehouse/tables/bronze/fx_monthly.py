from datetime import date
from decimal import Decimal
from typing import Annotated

import polars as pl

from lakehouse import Append, Bronze, Csv, Files, Frame, Measure, column, table

type PerDollar = Annotated[Decimal, Measure(pl.Decimal(38, 4), "per USD")]


class FxMonthly(Bronze):
    """One row per month and country, since 1971.

    Source: US Federal Reserve, release H.10, one file. To have dollars, divide by the rate.
    """

    month: date = column("First day of the month", was="Date")
    country: str = column("Country, or Euro", was="Country")
    rate: PerDollar = column(
        "Units of the country's currency for one US dollar, mean of the month", was="Exchange rate"
    )


@table(source=Files("reference/fx_monthly.csv.gz", formats=Csv()), write=Append(), owners=["team:finance"])
def fx_monthly() -> Frame[FxMonthly]: ...
