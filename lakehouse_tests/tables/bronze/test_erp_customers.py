from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from lakehouse.engine.quality.typed import typed
from lakehouse.tables.bronze.erp_customers import ErpCustomers, erp_customers
from lakehouse_tests.driver import House, red

HEADER = "customer_id,country,first_order_at,last_order_at,orders_to_date,credits_to_date\r\n"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_customer_is_read_with_the_saturday_of_its_file_and_london_times(house: House):
    house.land(
        "erp/customers/dt=2011-07-02/customers.csv",
        f"{HEADER}12347,Iceland,2010-12-07 14:57:00,2011-06-09 13:01:00,4,0\r\n",
    )
    assert red(house.run(erp_customers.declaration)) == {}
    read = typed(ErpCustomers, house.rows(erp_customers.declaration).lazy()).read.row(0, named=True)
    assert (read["dt"], read["customer_id"], read["country"]) == (date(2011, 7, 2), 12347, "Iceland")
    assert read["first_order_at"] == datetime(2010, 12, 7, 14, 57, tzinfo=UTC)
    assert read["last_order_at"] == datetime(2011, 6, 9, 12, 1, tzinfo=UTC)
    assert (read["orders_to_date"], read["credits_to_date"]) == (4, 0)


def test_two_weeks_with_the_same_customers_are_two_snapshots(house: House):
    same = f"{HEADER}12347,Iceland,2010-12-07 14:57:00,2010-12-07 14:57:00,1,0\r\n"
    for week in ("2010-12-25", "2011-01-01"):
        house.land(f"erp/customers/dt={week}/customers.csv", same)
    house.run(erp_customers.declaration)
    assert house.rows(erp_customers.declaration)["dt"].to_list() == ["2010-12-25", "2011-01-01"]
