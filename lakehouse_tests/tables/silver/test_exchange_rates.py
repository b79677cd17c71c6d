from lakehouse.tables.bronze.fx_monthly import FxMonthly
from lakehouse.tables.silver.exchange_rates import ExchangeRates, exchange_rates
from lakehouse_tests.drawing import assert_rows, rows


def test_a_rate_is_kept_as_it_was_published():
    published = rows(
        FxMonthly,
        """
        month      | country        | rate
        2010-12-01 | United Kingdom | 0.6412
        """,
    )
    assert_rows(
        exchange_rates(published),
        ExchangeRates,
        """
        month      | country        | per_dollar
        2010-12-01 | United Kingdom | 0.6412
        """,
    )
