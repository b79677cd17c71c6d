from lakehouse.tables.gold.returns_rate import ReturnsRate, returns_rate
from lakehouse.tables.silver.orders import Orders
from lakehouse_tests.drawing import assert_rows, rows


def test_the_rate_is_what_was_given_back_for_a_pound_sold():
    orders = rows(
        Orders,
        """
        order_no | country | day        | net_amount
        ---------+---------+------------+-----------
        1        | EIRE    | 2011-07-01 | 8.000
        C2       | EIRE    | 2011-07-31 | -2.000
        A3       | EIRE    | 2011-07-31 | -11062.060
        C4       | EIRE    | 2011-08-01 | -1.000
        5        | France  | 2011-07-01 | 3.000
        """,
    )
    assert_rows(
        returns_rate(orders),
        ReturnsRate,
        """
        month      | country | orders | credits | sold  | given_back | returns_rate
        2011-07-01 | EIRE    | 1      | 1       | 8.000 | 2.000      | 0.25
        2011-07-01 | France  | 1      | 0       | 3.000 | 0.000      | 0
        2011-08-01 | EIRE    | 0      | 1       | 0.000 | 1.000      | -
        """,
    )
