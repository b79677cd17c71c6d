from datetime import date

from dagster import AutomationCondition

from lakehouse import Frame, History, New, Quarantine, Silver, column, table
from lakehouse.tables.bronze.erp_customers import ErpCustomers


class CustomerHistory(Silver):
    """One row per customer and country that he had for a time (SCD2).

    Source: ERP, weekly snapshots: a move between two Saturdays shows on the second.
    """

    customer_id: int = column("Number of the account", key=True)
    country: str = column("Where his invoices were shipped")
    valid_from: date = column("First Saturday with this country", key=True)
    valid_to: date = column("First Saturday with another one; empty while it holds", nullable=True)


@table(
    write=History("valid_from", tracks=["country"]),
    rejects=Quarantine(),
    conserves="rows",
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def customer_history(shown: New[ErpCustomers]) -> Frame[CustomerHistory]:
    return shown.select("customer_id", "country", valid_from="dt")
