from lakehouse.tables.bronze.erp_products import ErpProducts
from lakehouse.tables.silver.products import Products, products
from lakehouse_tests.drawing import assert_rows, rows


def test_services_are_told_from_products_and_codes_are_kept_as_sent_and_in_capitals():
    shown = rows(
        ErpProducts,
        """
        sku          | product_name | price_gbp
        -------------+--------------+----------
        10123c       | HEARTS TAPE  | 0.65
        85123A       | -            | -
        POST         | POSTAGE      | 18.00
        m            | -            | 2.55
        gift_0001_20 | -            | 16.67
        DCGS0076     | SUNJAR       | 16.13
        850990       | X            | 1.00
        """,
    )
    assert_rows(
        products(shown),
        Products,
        """
        sku          | product_code | is_service | name        | price
        10123c       | 10123C       | false      | HEARTS TAPE | 0.65
        85123A       | 85123A       | false      | -           | -
        POST         | POST         | true       | POSTAGE     | 18.00
        m            | M            | true       | -           | 2.55
        gift_0001_20 | GIFT_0001_20 | true       | -           | 16.67
        DCGS0076     | DCGS0076     | true       | SUNJAR      | 16.13
        850990       | 850990       | true       | X           | 1.00
        """,
    )
