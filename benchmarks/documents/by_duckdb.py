"""The same tables by DuckDB: SQL in memory from file to Parquet, and one commit a table.

An increment goes into silver by deltalake's merge: DuckDB's Delta extension reads and appends.

Usage: python -m benchmarks.documents.by_duckdb LANDING LAKE
"""

from benchmarks.documents import usual
from benchmarks.duck import connected, write
from benchmarks.generated import JSON_LINES
from benchmarks.script import Paths, run

LINE = "struct(line_no bigint, sku varchar, description varchar, qty bigint, unit_price double, line_ts varchar)"
SENT = {
    "order_no": "varchar",
    "order_ts": "varchar",
    "customer_id": "varchar",
    "country": "varchar",
    "currency": "varchar",
    "lines": f"{LINE}[]",
}
# rows of a table are numbered as they came
DOCUMENTS = """
    create table documents as
    select order_no, try_cast(customer_id as bigint) as customer_id, country,
        timezone('Europe/London', cast(order_ts as timestamp)) as ordered_at, lines
    from sent where rowid in (select max(rowid) from sent group by order_no)
"""
LINES = """
    create table lines as
    select order_no, line_no, sku, description, quantity, unit_price,
        cast(quantity * unit_price as decimal(38, 3)) as net_amount, country, ordered_at, saved_at
    from (
        select order_no, line.line_no, line.sku, line.description, line.qty as quantity,
            cast(cast(round(line.unit_price, 3) as decimal(18, 3)) as decimal(38, 3)) as unit_price,
            country, ordered_at, timezone('Europe/London', cast(line.line_ts as timestamp)) as saved_at
        from (select order_no, country, ordered_at, unnest(lines) as line from documents)
    )
"""
RIGHT = "from lines where coalesce(line_no >= 1 and quantity <> 0, false)"
WRONG = "from lines where not coalesce(line_no >= 1 and quantity <> 0, false)"
ORDERS = """
    select order_no, customer_id, country, ordered_at, line_count, net_amount
    from documents join (
        select order_no, count(*) as line_count, cast(sum(net_amount) as decimal(38, 3)) as net_amount
        from lines group by order_no
    ) using (order_no)
    where line_count >= 1 and (not starts_with(order_no, 'C') or net_amount <= 0)
"""
SALES = """
    select cast(timezone('Europe/London', ordered_at) as date) as day, country, count(*) as orders,
        cast(sum(line_count) as bigint) as lines, cast(sum(net_amount) as decimal(38, 3)) as net_amount
    from delta_scan('{}') group by day, country order by day, country
"""


def work(paths: Paths) -> None:
    duck, lines, orders = connected(), paths.table("silver/order_lines"), paths.table("silver/orders")
    files = [str(file) for file in paths.files]
    duck.execute(
        "create table sent as from read_json($files, format = 'newline_delimited', columns = $columns)",
        {"files": files, "columns": SENT},
    )
    write(duck, "from sent", paths.table("bronze/sent_orders"))
    duck.execute(DOCUMENTS)
    duck.execute(LINES)
    write(duck, WRONG, paths.table("quarantine/order_lines"))
    if paths.is_first:
        write(duck, RIGHT, lines)
        write(duck, ORDERS, orders)
    else:
        came = duck.sql(RIGHT).pl()
        usual.merge(lines, came, "line_no")
        usual.forget_lines(lines, came)
        usual.merge(orders, duck.sql(ORDERS).pl())
    write(duck, SALES.format(orders), paths.table("gold/daily_sales"), instead=True)


if __name__ == "__main__":
    run(work, JSON_LINES)
