from datetime import date

from lakehouse import Append, Bronze, Csv, Frame, Snapshots, Utc, column, local_time, table

SAVED = local_time("Europe/London", "%Y-%m-%d %H:%M:%S")


class ErpCustomers(Bronze):
    """One row per customer and week, as the ERP knew them on that Saturday.

    Source: ERP, all customers that ever bought, landed as CSV each Saturday.
    """

    dt: date = column("Saturday of the snapshot")
    customer_id: int = column("Number of the account")
    country: str = column("Where the latest invoice was shipped")
    first_order_at: Utc = column("When the first invoice was saved", text=SAVED)
    last_order_at: Utc = column("When the latest invoice was saved, order or credit note", text=SAVED)
    orders_to_date: int = column("Orders so far")
    credits_to_date: int = column("Credit notes so far")


@table(
    source=Snapshots("erp/customers/dt=*/customers.csv", formats=Csv(), valid_at="dt"),
    write=Append(),
    owners=["team:sales"],
)
def erp_customers() -> Frame[ErpCustomers]: ...
