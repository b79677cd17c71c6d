"""The same tables by Spark's SQL, on Spark itself or on Sail, each a server of its own that is started before.

Usage: python -m benchmarks.lines.by_spark LANDING LAKE spark|sail
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.functions import monotonically_increasing_id

from benchmarks.generated import CHANNELS, COUNTRIES, CSV
from benchmarks.script import Paths, run

JAVA = ("-Xmx8g",)
ROWS = """order_no, line_no, cast(ordered_at as date) as day, sku, description, quantity, unit_price,
    cast(quantity * unit_price as decimal(38, 3)) as net_amount, customer_id, country, currency, channel, ordered_at,
    saved_at"""
LINES = f"""
    select dt, number, {ROWS}, coalesce(
        line_no >= 1 and sku rlike '^[0-9]{{5}}A?$' and quantity <> 0 and unit_price >= 0 and country in {COUNTRIES}
        and currency = 'GBP' and channel in {CHANNELS} and saved_at >= ordered_at, false
    ) as is_right
    from (
        select dt, number, order_no, try_cast(line_no as bigint) as line_no, sku, description,
            try_cast(quantity as bigint) as quantity, try_cast(unit_price as decimal(38, 3)) as unit_price,
            try_cast(customer_id as bigint) as customer_id, country, currency, channel,
            try_cast(ordered_at as timestamp) as ordered_at, try_cast(saved_at as timestamp) as saved_at
        from sent
    )
"""
OUT = """order_no, line_no, day, sku, description, quantity, unit_price, net_amount, customer_id, country, currency,
    channel, ordered_at, saved_at"""
RIGHT = f"""
    select {OUT} from (
        select *, row_number() over (partition by order_no, line_no order by dt desc, number desc) as place
        from lines where is_right
    ) where place = 1
"""
MERGE = """
    merge into delta.`{}` t using came s on t.order_no = s.order_no and t.line_no = s.line_no
    when matched then update set * when not matched then insert *
"""
SALES = """
    select day, country, count(distinct order_no) as orders, count(*) as lines,
        cast(sum(net_amount) as decimal(38, 3)) as net_amount
    from delta.`{}` group by day, country
"""


@contextmanager
def session(engine: str) -> Iterator[Any]:
    """A session of Spark or of Sail."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        if engine == "spark":
            from lakehouse_tests import spark

            server = spark.start(Path(folder), java=JAVA)
            try:
                yield server.session
            finally:
                server.stop()
        else:
            from pysail.spark import SparkConnectServer

            server = SparkConnectServer("127.0.0.1", 0)
            server.start(background=True)
            _, port = server.listening_address  # pyright: ignore[reportGeneralTypeIssues] # it listens
            yield SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
            server.stop()


def tables(spark: Any, paths: Paths) -> None:
    silver = paths.table("silver/order_lines")
    days = ", ".join(f"'{file.parent.name.removeprefix('dt=')}'" for file in paths.files)  # each a folder, a file in it
    sent = spark.read.option("header", True).csv(str(paths.landing / "erp" / "order_lines")).where(f"dt in ({days})")
    sent = sent.withColumn("number", monotonically_increasing_id())
    sent.drop("number").write.format("delta").mode("append").save(paths.table("bronze/sent_lines"))
    sent.createOrReplaceTempView("sent")
    lines = spark.sql(LINES).cache()
    lines.createOrReplaceTempView("lines")
    wrong = spark.sql(f"select {OUT} from lines where not is_right")
    wrong.write.format("delta").mode("append").save(paths.table("quarantine/order_lines"))
    right = spark.sql(RIGHT)
    if paths.is_first:
        right.write.format("delta").mode("overwrite").save(silver)
    else:
        right.createOrReplaceTempView("came")
        spark.sql(MERGE.format(silver))
    sales = spark.sql(SALES.format(silver))
    sales.write.format("delta").mode("overwrite").save(paths.table("gold/daily_sales"))


if __name__ == "__main__":
    with session(sys.argv[3]) as its:
        run(lambda paths: tables(its, paths), CSV)
