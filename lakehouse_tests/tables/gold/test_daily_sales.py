from lakehouse.tables.gold.daily_sales import DailySales, daily_sales
from lakehouse.tables.silver.orders import Orders
from lakehouse_tests.drawing import assert_rows, rows


def test_a_day_is_a_london_day():
    sold = rows(
        Orders,
        """
        order_no | country | ordered_at           | line_count | net_amount
        ---------+---------+----------------------+------------+-----------
        1        | France  | 2011-07-01T22:59:00Z | 2          | 10.001
        2        | France  | 2011-07-01T23:00:00Z | 1          | 5.000
        3        | France  | 2011-12-01T23:59:00Z | 1          | 1.000
        """,
    )
    assert_rows(
        daily_sales(sold),
        DailySales,
        """
        day        | country | orders | lines | net_amount
        -----------+---------+--------+-------+-----------
        2011-07-01 | France  | 1      | 2     | 10.001
        2011-07-02 | France  | 1      | 1     | 5.000
        2011-12-01 | France  | 1      | 1     | 1.000
        """,
    )


def test_countries_of_one_day_are_counted_apart():
    sold = rows(
        Orders,
        """
        country | net_amount
        EIRE    | 1.500
        France  | 2.000
        EIRE    | -0.250
        """,
    )
    assert_rows(
        daily_sales(sold),
        DailySales,
        """
        country | orders | net_amount
        EIRE    | 2      | 1.250
        France  | 1      | 2.000
        """,
    )
