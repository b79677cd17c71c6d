import polars as pl

from lakehouse.engine.quality.verdict import judge
from lakehouse.tables.bronze.erp_orders import ErpOrders
from lakehouse.tables.bronze.erp_returns import ErpReturns
from lakehouse.tables.silver.orders import Orders, orders
from lakehouse_tests.drawing import assert_rows, rows

NOTHING = rows(ErpReturns, "order_no")


def test_an_order_is_the_sum_of_its_lines():
    sent = rows(
        ErpOrders,
        """
        order_no | lines
        ---------+-------------------------------------------------------------------------
        536365   | [{"qty": 6, "unit_price": 2.55}, {"qty": -2, "unit_price": 0.001}]
        A563185  | [{"qty": 1, "unit_price": -11062.06}]
        """,
    )
    assert_rows(
        orders(sent, NOTHING),
        Orders,
        """
        order_no | line_count | net_amount
        ---------+------------+------------
        536365   | 2          | 15.298
        A563185  | 1          | -11062.060
        """,
    )


def test_who_bought_where_and_when_stay_as_they_were_sent():
    sent = rows(
        ErpOrders,
        """
        order_no | customer_id | country | order_ts
        536365   | -           | EIRE    | 2010-12-01T08:26:00Z
        """,
    )
    assert_rows(
        orders(sent, NOTHING),
        Orders,
        """
        order_no | customer_id | country | ordered_at
        536365   | -           | EIRE    | 2010-12-01T08:26:00Z
        """,
    )


def test_a_day_is_a_london_day():
    sent = rows(
        ErpOrders,
        """
        order_ts
        2011-07-01T22:59:00Z
        2011-07-01T23:00:00Z
        2011-12-01T23:59:00Z
        """,
    )
    assert_rows(
        orders(sent, NOTHING),
        Orders,
        """
        day
        2011-07-01
        2011-07-02
        2011-12-01
        """,
    )


def test_credits_stand_beside_orders():
    sold = rows(ErpOrders, "order_no\n536365")
    returned = rows(
        ErpReturns,
        """
        order_no | customer_id | lines
        C536379  | 14527       | [{"qty": -2, "unit_price": 27.5}]
        """,
    )
    assert_rows(
        orders(sold, returned),
        Orders,
        """
        order_no | customer_id | net_amount
        536365   | -           | 0
        C536379  | 14527       | -55.000
        """,
    )


def test_a_credit_that_charges_is_rejected_and_an_order_of_no_lines_too():
    judged = rows(
        Orders,
        """
        order_no | line_count | net_amount
        C1       | 1          | 0.001
        C2       | 1          | 0
        536365   | 0          | 0
        """,
    ).collect()
    verdict = judge(Orders, judged, unique=False)
    assert verdict.rejected["order_no"].to_list() == ["C1", "536365"]
    assert verdict.reasons.to_list() == [["a_credit_gives_money_back"], ["line_count__ge"]]
    assert isinstance(verdict.accepted, pl.DataFrame)
