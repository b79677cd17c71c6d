from datetime import date

from dagster import AutomationCondition

from lakehouse import Frame, Merge, New, Quarantine, Silver, column, table
from lakehouse.tables.bronze.fx_monthly import FxMonthly, PerDollar


class ExchangeRates(Silver):
    """One row per month and country, as last published.

    Source: US Federal Reserve, release H.10.
    """

    month: date = column("First day of the month", key=True)
    country: str = column("Country, or Euro", key=True)
    per_dollar: PerDollar = column("Units of the country's currency for one US dollar, mean of the month", gt=0)


@table(
    write=Merge(),
    rejects=Quarantine(),
    conserves="rows",
    owners=["team:finance"],
    automation_condition=AutomationCondition.eager(),
)
def exchange_rates(published: New[FxMonthly]) -> Frame[ExchangeRates]:
    return published.select("month", "country", per_dollar="rate")
