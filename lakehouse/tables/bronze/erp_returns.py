from lakehouse import Append, Bronze, Files, Frame, JsonLines, Utc, column, local_time, table
from lakehouse.tables.bronze.erp_orders import Line


class ErpReturns(Bronze):
    """One row per credit note document, as the ERP sent it.

    Source: ERP, one JSON object per credit note, landed daily, up to fourteen days late. No original order is named.
    """

    order_no: str = column("Number of the credit note, C…")
    order_ts: Utc = column("When the clerk saved it", text=local_time("Europe/London"))
    customer_id: int = column(
        "Who gets the money back; empty for sales without an account", nullable=True, personal=True
    )
    country: str = column("Where the goods had been shipped")
    currency: str = column("ISO 4217 code of the prices")
    lines: list[Line] = column("What is given back, its pieces negative; also discounts and fees")


@table(source=Files("erp/returns/dt=*/returns.jsonl.gz", formats=JsonLines()), write=Append(), owners=["team:sales"])
def erp_returns() -> Frame[ErpReturns]: ...
