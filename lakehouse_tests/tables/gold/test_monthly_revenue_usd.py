from lakehouse.engine.quality.verdict import judge
from lakehouse.tables.gold.daily_sales import DailySales
from lakehouse.tables.gold.monthly_revenue_usd import MonthlyRevenueUsd, monthly_revenue_usd
from lakehouse.tables.silver.exchange_rates import ExchangeRates
from lakehouse_tests.drawing import assert_rows, rows


def test_pounds_are_divided_by_the_pounds_of_a_dollar():
    days = rows(
        DailySales,
        """
        day        | country | net_amount
        -----------+---------+-----------
        2010-12-01 | EIRE    | 6.000
        2010-12-31 | France  | 0.412
        2011-01-01 | France  | 2.000
        """,
    )
    rates = rows(
        ExchangeRates,
        """
        month      | country        | per_dollar
        2010-12-01 | United Kingdom | 0.6412
        2010-12-01 | Euro           | 0.7500
        2011-01-01 | United Kingdom | 0.6340
        """,
    )
    assert_rows(
        monthly_revenue_usd(days, rates),
        MonthlyRevenueUsd,
        """
        month      | net_gbp | pounds_per_dollar | net_usd
        2010-12-01 | 6.412   | 0.6412            | 10.0000
        2011-01-01 | 2.000   | 0.6340            | 3.1546
        """,
    )


def test_a_month_without_a_rate_has_no_dollars_and_is_refused_by_the_contract():
    days = rows(DailySales, "day\n2010-12-01")
    rates = rows(ExchangeRates, "month")
    verdict = judge(MonthlyRevenueUsd, monthly_revenue_usd(days, rates).collect(), unique=True)
    assert [each.rule.name for each in verdict.broken] == ["pounds_per_dollar__not_null", "net_usd__not_null"]
