"""Order lines of a made-up year, as many as are asked for: as order documents (gzip JSON lines) and as flat CSV.

A file a day. 1 order of 200 lands up to three days late, 3 of 1,000 land again, 1 of 200 lands again corrected, and
1 line of 1,000 is wrong (in CSV also some that do not read). Few products, customers and countries have most of it.
After the year comes an increment, another five days: four fifths new orders, one fifth corrections of recent ones.
The same size gives the same bytes (within one version of zlib and Polars).
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

FIRST_DAY, DAYS, MORE_DAYS = date(2011, 1, 1), 365, 5
INCREMENT = 100_000
LINES_A_ORDER = 20  # on average: 1 to 39
COUNTRIES = (
    "United Kingdom",
    "Germany",
    "France",
    "EIRE",
    "Spain",
    "Netherlands",
    "Belgium",
    "Switzerland",
    "Portugal",
)
CHANNELS = ("web", "shop", "phone", "fair")
PRIME = 2_147_483_647
CSV_COLUMNS = (
    "order_no", "line_no", "sku", "description", "quantity", "unit_price", "customer_id", "country", "currency",
    "channel", "ordered_at", "saved_at",
)  # fmt: skip
JSON_LINES, CSV = "erp/orders/dt={day}/orders.jsonl.gz", "erp/order_lines/dt={day}/order_lines.csv"
A_DOCUMENT = "erp/orders/dt={day}/{number}.jsonl.gz"


@dataclass(frozen=True)
class Landed:
    """The landing of the year in `base`, and that of the increment in `more`."""

    base: Path
    more: Path


def landed(folder: Path, lines: int, pattern: str) -> Landed:
    """The files of `pattern` for so many order lines below `folder`; what lies there already is taken as it is."""
    both = Landed(folder / "base", folder / "more")
    if not (folder / "done").exists():
        orders = _orders(lines // LINES_A_ORDER, INCREMENT // LINES_A_ORDER)
        is_more = pl.col("lands") >= DAYS
        for place, some in ((both.base, orders.filter(~is_more)), (both.more, orders.filter(is_more))):
            for day, of_day in _by_day(some):
                file = place / pattern.format(day=day)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_packed(of_day) if pattern == JSON_LINES else _csv(of_day))
        (folder / "done").touch()
    return both


def landed_one_by_one(folder: Path, files: int, more: int) -> Landed:
    """So many order documents of the year, and then so many of the increment, each a file of its own, a folder a day.

    Some are the same as an earlier one, or correct it. What lies there already is taken as it is.
    """
    both = Landed(folder / "base", folder / "more")
    if not (folder / "done").exists():
        orders = _orders(files, 2 * more)
        is_more = pl.col("lands") >= DAYS
        number = 0
        for place, some in (
            (both.base, orders.filter(~is_more).head(files)),
            (both.more, orders.filter(is_more).head(more)),
        ):
            for day, of_day in _by_day(some):
                for document in _documents(of_day).write_ndjson().encode().splitlines(keepends=True):
                    number += 1
                    file = place / A_DOCUMENT.format(day=day, number=f"{number:07}")
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(gzip.compress(document, compresslevel=6, mtime=0))
        (folder / "done").touch()
    return both


def drawn(salt: int, *of: pl.Expr) -> pl.Expr:
    """From 0 to 1, looks drawn, and follows from its arguments alone: the same on every machine."""
    number = pl.lit(salt, pl.Int64)
    for each in of:
        number = ((number + each.cast(pl.Int64) + 1) * 48_271 + 12_345) % PRIME
        number = (number * number + salt) % PRIME
    return number / PRIME


def _orders(base: int, more: int) -> pl.DataFrame:
    """One row per order as sent: order, `day` it was made on, day it `lands` on, `revision` (0: as first made)."""
    order, new = pl.col("order"), base + more * 4 // 5
    made = pl.DataFrame({"order": range(new)}).with_columns(
        day=pl.when(order < base)
        .then(order * DAYS // base)
        .otherwise(DAYS + (order - base) * MORE_DAYS // (new - base))
    )
    late = pl.when(drawn(1, order) < 0.005).then((drawn(2, order) * 3).cast(pl.Int64) + 1).otherwise(0)
    first = made.with_columns(lands=pl.col("day") + late, revision=pl.lit(0, pl.Int64))
    again = first.filter(drawn(3, order) < 0.003).with_columns(pl.col("lands") + 1)
    corrected = first.filter(drawn(4, order) < 0.005).with_columns(pl.col("lands") + 1, revision=pl.lit(1, pl.Int64))
    recent = first.filter((order < base) & (order >= base - 3 * more)).sort(drawn(5, order)).head(more // 5)
    recent = recent.with_columns(lands=DAYS + order % MORE_DAYS, revision=pl.lit(2, pl.Int64))
    sent = pl.concat([first, again, corrected, recent]).sort("lands", "order", "revision")
    # what is late lands on the last day of its part at the latest: the increment comes after all of the year
    in_base = (order < base) & (pl.col("revision") < 2)
    last = pl.when(in_base).then(DAYS - 1).otherwise(DAYS + MORE_DAYS - 1)
    return sent.with_columns(lands=pl.min_horizontal("lands", last)).sort("lands", "order", "revision")


def _by_day(orders: pl.DataFrame) -> Iterator[tuple[date, pl.DataFrame]]:
    for (day,), of_day in orders.group_by("lands", maintain_order=True):
        yield FIRST_DAY + timedelta(days=int(str(day))), _lines(of_day)


def _lines(orders: pl.DataFrame) -> pl.DataFrame:
    """One row per line, typed; what of it is wrong is for the formats to write."""
    order, line, revision = pl.col("order"), pl.col("line_no"), pl.col("revision")
    size = 1 + (drawn(10, order) * (2 * LINES_A_ORDER - 1)).cast(pl.Int64)
    is_shorter = (revision == 2) & (drawn(22, order) < 0.05) & (size > 1)  # a line fell away
    lines = orders.with_columns(line_no=pl.int_ranges(1, size + 1 - is_shorter.cast(pl.Int64))).explode(
        "line_no", empty_as_null=False
    )
    midnight = pl.lit(datetime.combine(FIRST_DAY, datetime.min.time()))  # a wall clock's
    at = midnight + pl.duration(days="day", minutes=(8 * 60 + drawn(11, order) * 600).cast(pl.Int64))
    product = (drawn(12, order, line) ** 2 * 4_000).cast(pl.Int64)
    pence = 20 + product * 7 % 1_900
    customer = 12_000 + (drawn(13, order) ** 3 * 5_000).cast(pl.Int64)
    is_credit = drawn(14, order) < 0.02
    pieces = 1 + (drawn(15, order, line) ** 4 * 60).cast(pl.Int64) + revision
    chosen = (drawn(16, order) ** 4 * len(COUNTRIES)).cast(pl.Int64)
    return lines.select(
        order_no=pl.when(is_credit).then(pl.lit("C")).otherwise(pl.lit("")) + (500_000 + order).cast(pl.String),
        order_ts=at,
        customer_id=pl.when(drawn(17, order) > 0.05).then(customer),
        country=chosen.replace_strict(dict(enumerate(COUNTRIES)), return_dtype=pl.String),
        channel=(drawn(18, order) * 4).cast(pl.Int64).replace_strict(dict(enumerate(CHANNELS)), return_dtype=pl.String),
        line_no="line_no",
        sku=(20_000 + product).cast(pl.String) + pl.when(product % 7 == 0).then(pl.lit("A")).otherwise(pl.lit("")),
        description=pl.when(product % 50 > 0).then(pl.format("PRODUCT {} OF THE CATALOGUE", product)),
        # the first line of an order is never wrong: an order of which nothing stands is another story
        qty=pl.when((drawn(19, order, line) < 0.001) & (line > 1))
        .then(0)
        .otherwise(pieces * pl.when(is_credit).then(-1).otherwise(1)),
        # by its text: Polars divides 1799 by 100 to 17.990000000000002
        unit_price=pl.format("{}.{}", pence // 100, (pence % 100).cast(pl.String).str.zfill(2)).cast(pl.Float64),
        line_ts=at + pl.duration(minutes=(drawn(20, order, line) < 0.05).cast(pl.Int64)),
        is_unread=(drawn(21, order, line) < 0.0002) & (line > 1),
    )


def _packed(lines: pl.DataFrame) -> bytes:
    return gzip.compress(_documents(lines).write_ndjson().encode(), compresslevel=6, mtime=0)


def _documents(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per order as sent, its lines in it."""
    written = lines.with_columns(
        pl.col("order_ts", "line_ts").dt.to_string("%Y-%m-%dT%H:%M:%S"), pl.col("customer_id").cast(pl.String)
    )
    line = pl.struct("line_no", "sku", "description", "qty", "unit_price", "line_ts")
    head = ["order_no", "order_ts", "customer_id", "country"]
    # an order that landed twice on one day is two documents
    arrival = (pl.col("line_no") == 1).cum_sum().alias("arrival")
    return (
        written.group_by(arrival, maintain_order=True)
        .agg(pl.col(head).first(), lines=line)
        .select(*head, pl.lit("GBP").alias("currency"), "lines")
    )


def _csv(lines: pl.DataFrame) -> bytes:
    utc = "%Y-%m-%dT%H:%M:%SZ"
    price = pl.col("unit_price").cast(pl.String)
    out = io.BytesIO()
    lines.select(
        "order_no",
        "line_no",
        "sku",
        "description",
        quantity="qty",
        unit_price=pl.when("is_unread").then(pl.lit("1O.50")).otherwise(price),
        customer_id="customer_id",
        country="country",
        currency=pl.lit("GBP"),
        channel="channel",
        ordered_at=pl.col("order_ts").dt.to_string(utc),
        saved_at=pl.col("line_ts").dt.to_string(utc),
    ).write_csv(out)
    return out.getvalue()
