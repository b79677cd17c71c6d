from datetime import date

from dagster import AutomationCondition

from lakehouse import Frame, Merge, New, Quarantine, Silver, Utc, column, table
from lakehouse.tables.bronze.erp_customers import ErpCustomers


class Customers(Silver):
    """One row per customer, as the newest weekly snapshot has it.

    Source: ERP, weekly snapshots. Who has left a snapshot stays as he was last seen.
    """

    customer_id: int = column("Number of the account", key=True)
    country: str = column("Where the latest invoice was shipped")
    first_order_at: Utc = column("When the first invoice was saved")
    last_order_at: Utc = column("When the latest invoice was saved, order or credit")
    orders_to_date: int = column("Orders so far", ge=0)
    credits_to_date: int = column("Credit notes so far", ge=0)
    seen_on: date = column("Saturday of the snapshot")


@table(
    write=Merge(newest_by="seen_on"),
    rejects=Quarantine(),
    conserves="rows",
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def customers(shown: New[ErpCustomers]) -> Frame[Customers]:
    return shown.select(
        "customer_id",
        "country",
        "first_order_at",
        "last_order_at",
        "orders_to_date",
        "credits_to_date",
        seen_on="dt",
    )
