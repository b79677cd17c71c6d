from datetime import date

from lakehouse import Append, Bronze, Csv, Frame, Gbp, Snapshots, column, number_text, table

POUNDS = number_text(prefix="£")


class ErpProducts(Bronze):
    """One row per product code and week, as the ERP's catalogue had it on that Monday.

    Source: ERP, all codes that were ever sold, landed as CSV each Monday. Since 2011-06-06 two columns have other names
    and two are new; since 2011-09-05 the files are Windows-1252 with semicolons, and prices begin with £.
    """

    dt: date = column("Monday of the snapshot")
    sku: str = column("Product or service code, as sent")
    product_name: str = column("The name it is sold under; empty where none is known", nullable=True, was="description")
    price_gbp: Gbp = column(
        "Price of a piece at which it sells most; empty where none is known",
        nullable=True,
        text=POUNDS,
        was="list_price",
    )
    price_min: Gbp = column("Lowest price of the last four weeks it was sold in", nullable=True, text=POUNDS)
    price_max: Gbp = column("Highest price of the last four weeks it was sold in", nullable=True, text=POUNDS)
    first_seen: date = column("Day on which it first stood on an order")


@table(
    source=Snapshots(
        "erp/products/dt=*/products.csv", formats=[Csv(), Csv(delimiter=";", encoding="cp1252")], valid_at="dt"
    ),
    write=Append(),
    owners=["team:sales"],
)
def erp_products() -> Frame[ErpProducts]: ...
