from lakehouse.tables.bronze.erp_orders import ErpOrders
from lakehouse.tables.bronze.erp_returns import ErpReturns
from lakehouse.tables.silver.order_lines import OrderLines, order_lines
from lakehouse_tests.drawing import assert_rows, rows

NOTHING = rows(ErpReturns, "order_no")


def test_equal_lines_of_one_order_are_kept():
    sent = rows(
        ErpOrders,
        """
        order_no | lines
        ---------+------------------------------------------------------------------------------------------------
        536365   | [{"line_no": 1, "qty": 6, "unit_price": 2.55}, {"line_no": 2, "qty": 6, "unit_price": 2.55}]
        536366   | [{"line_no": 1, "qty": -1, "unit_price": 0.001}]
        """,
    )
    assert_rows(
        order_lines(sent, NOTHING),
        OrderLines,
        """
        order_no | line_no | quantity | unit_price | net_amount
        ---------+---------+----------+------------+-----------
        536365   | 1       | 6        | 2.550      | 15.300
        536365   | 2       | 6        | 2.550      | 15.300
        536366   | 1       | -1       | 0.001      | -0.001
        """,
    )


def test_a_line_has_the_country_and_the_time_of_its_order():
    sent = rows(
        ErpOrders,
        """
        order_no | country | order_ts             | lines
        536365   | EIRE    | 2010-12-01T08:26:00Z | [{"line_no": 1, "line_ts": "2010-12-01T08:27:00Z"}]
        """,
    )
    assert_rows(
        order_lines(sent, NOTHING),
        OrderLines,
        """
        order_no | country | ordered_at
        536365   | EIRE    | 2010-12-01T08:26:00Z
        """,
    )


def test_an_order_of_no_lines_has_no_line():
    sent = rows(
        ErpOrders,
        """
        order_no | lines
        536365   | []
        """,
    )
    assert order_lines(sent, NOTHING).collect().is_empty()


def test_what_comes_back_has_lines_too():
    returned = rows(
        ErpReturns,
        """
        order_no | lines
        ---------+------------------------------------------------
        C536379  | [{"line_no": 1, "sku": "D", "qty": -1, "unit_price": 27.5}]
        """,
    )
    assert_rows(
        order_lines(rows(ErpOrders, "order_no"), returned),
        OrderLines,
        """
        order_no | line_no | sku | quantity | net_amount
        C536379  | 1       | D   | -1       | -27.500
        """,
    )
