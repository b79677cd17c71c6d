from lakehouse.tables.gold.daily_sales import DailySales, daily_sales
from lakehouse.tables.silver.orders import Orders
from lakehouse_tests.drawing import assert_rows, rows


def test_orders_and_credits_of_a_day_are_summed():
    sold = rows(
        Orders,
        """
        order_no | day        | country | line_count | net_amount
        ---------+------------+---------+------------+-----------
        1        | 2011-07-01 | France  | 2          | 10.001
        C2       | 2011-07-01 | France  | 1          | -5.000
        3        | 2011-12-01 | France  | 1          | 1.000
        """,
    )
    assert_rows(
        daily_sales(sold),
        DailySales,
        """
        day        | country | orders | lines | net_amount
        -----------+---------+--------+-------+-----------
        2011-07-01 | France  | 2      | 3     | 5.001
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
