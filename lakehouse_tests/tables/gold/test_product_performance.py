from lakehouse.tables.gold.product_performance import ProductPerformance, product_performance
from lakehouse.tables.silver.order_lines import OrderLines
from lakehouse.tables.silver.products import Products
from lakehouse_tests.drawing import assert_rows, rows


def test_codes_that_differ_by_case_are_one_product_and_lines_without_a_catalogue_row_stay():
    lines = rows(
        OrderLines,
        """
        order_no | sku    | quantity | net_amount
        ---------+--------+----------+-----------
        1        | 85123A | 6        | 15.300
        1        | 85123a | 1        | 2.550
        C2       | 85123A | -1       | -2.550
        3        | M      | 1        | 9.000
        4        | 99999  | 2        | 4.000
        """,
    )
    products = rows(
        Products,
        """
        sku    | product_code | name
        85123a | 85123A       | CREAM HOLDER
        85123A | 85123A       | WHITE HOLDER
        M      | M            | -
        m      | M            | Manual
        """,
    )
    assert_rows(
        product_performance(lines, products),
        ProductPerformance,
        """
        product_code | name         | is_service | is_in_catalogue | orders | lines | quantity | net_amount
        85123A       | WHITE HOLDER | false      | true            | 2      | 3     | 6        | 15.300
        99999        | -            | false      | false           | 1      | 1     | 2        | 4.000
        M            | Manual       | true       | true            | 1      | 1     | 1        | 9.000
        """,
    )
