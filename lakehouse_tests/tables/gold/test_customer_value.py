from lakehouse.tables.gold.customer_value import CustomerValue, customer_value
from lakehouse.tables.silver.customers import Customers
from lakehouse.tables.silver.orders import Orders
from lakehouse_tests.drawing import assert_rows, rows


def test_a_customer_is_worth_what_he_paid_less_what_he_was_given_back():
    orders = rows(
        Orders,
        """
        order_no | customer_id | ordered_at           | net_amount
        ---------+-------------+----------------------+-----------
        1        | 12370       | 2011-07-01T10:00:00Z | 10.001
        C2       | 12370       | 2011-07-02T10:00:00Z | -4.000
        3        | -           | 2011-07-02T10:00:00Z | 99.000
        C4       | 12999       | 2011-07-03T10:00:00Z | -1.000
        """,
    )
    customers = rows(
        Customers,
        """
        customer_id | country
        12370       | Austria
        """,
    )
    assert_rows(
        customer_value(orders, customers),
        CustomerValue,
        """
        customer_id | country | orders | credits | net_amount | first_order_at       | last_order_at
        12370       | Austria | 1      | 1       | 6.001      | 2011-07-01T10:00:00Z | 2011-07-02T10:00:00Z
        12999       | -       | 0      | 1       | -1.000     | 2011-07-03T10:00:00Z | 2011-07-03T10:00:00Z
        """,
    )
