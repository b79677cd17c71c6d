from lakehouse.tables.bronze.erp_customers import ErpCustomers
from lakehouse.tables.silver.customer_history import customer_history
from lakehouse.tables.silver.customers import Customers, customers
from lakehouse_tests.drawing import assert_rows, rows

SHOWN = """
    dt         | customer_id | country | orders_to_date
    -----------+-------------+---------+---------------
    2010-12-04 | 12370       | Cyprus  | 1
    2010-12-11 | 12370       | Austria | 2
"""


def test_a_customer_is_as_the_snapshot_has_him():
    assert_rows(
        customers(rows(ErpCustomers, SHOWN)),
        Customers,
        """
        customer_id | country | orders_to_date | seen_on
        12370       | Cyprus  | 1              | 2010-12-04
        12370       | Austria | 2              | 2010-12-11
        """,
    )


def test_what_was_seen_is_valid_from_the_day_of_the_snapshot():
    assert_rows(
        customer_history(rows(ErpCustomers, SHOWN)),
        customer_history.declaration.returned_schema,
        """
        customer_id | country | valid_from
        12370       | Cyprus  | 2010-12-04
        12370       | Austria | 2010-12-11
        """,
    )
