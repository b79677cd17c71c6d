from lakehouse import Append, Bronze, Files, Frame, Gbp, JsonLines, Struct, Utc, column, local_time, table


class Line(Struct):
    line_no: int = column("Position in the order, from 1")
    sku: str = column("Product or service code, as sent")
    description: str = column("Product name, or a clerk's note", nullable=True)
    qty: int = column("Pieces; negative for corrections")
    unit_price: Gbp = column("Price of a piece")
    line_ts: Utc = column("When the clerk saved the line", text=local_time("Europe/London"))


class ErpOrders(Bronze):
    """One row per order document, as the ERP sent it.

    Source: ERP, one JSON object per order, landed daily, up to three days late.
    """

    order_no: str = column("Order number; A… is a correction of bad debt")
    order_ts: Utc = column("When the clerk saved it", text=local_time("Europe/London"))
    customer_id: int = column("Who bought; empty for sales without an account", nullable=True, personal=True)
    country: str = column("Where it was shipped")
    currency: str = column("ISO 4217 code of the prices")
    lines: list[Line] = column("The order's lines")


@table(source=Files("erp/orders/dt=*/orders.jsonl.gz", formats=JsonLines()), write=Append(), owners=["team:sales"])
def erp_orders() -> Frame[ErpOrders]: ...
