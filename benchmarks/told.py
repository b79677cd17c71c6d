"""The table of versions that `benchmarks.seen` writes, declared: with, and without, readers of deletion vectors."""

from dataclasses import replace
from datetime import date

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.dtypes import Gbp
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import declare
from lakehouse.engine.declare.write import Append, History


class Told(Bronze):
    """One row per customer and day."""

    customer_id: int = column("Customer")
    name: str = column("Name")
    country: str = column("Where")
    channel: str = column("Way in")
    orders: int = column("So far")
    amount: Gbp = column("So far")
    day: date = column("Day")


class Lived(Silver):
    """One row per version of a customer."""

    customer_id: int = column("Customer", key=True)
    name: str = column("Name")
    country: str = column("Where")
    channel: str = column("Way in")
    orders: int = column("So far")
    amount: Gbp = column("So far")
    since: date = column("First day", key=True)
    valid_to: date = column("First day no longer", nullable=True)


def told() -> Frame[Told]: ...


def lived(rows: New[Told]) -> Frame[Lived]:
    return rows.select("customer_id", "name", "country", "channel", "orders", "amount", since="day")


declare(told, write=Append(), source=Files("told/*.jsonl", formats=JsonLines()))
KEPT = History("since", tracks=["country"])
WITHOUT = declare(lived, write=KEPT)
WITH_VECTORS = replace(WITHOUT, readers=(Reader.DELTA_RS, Reader.DATABRICKS))
