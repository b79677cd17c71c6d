"""The same tables by DuckDB: SQL in memory from file to Parquet, and one commit a table.

An increment goes into silver by deltalake's merge: DuckDB's Delta extension reads and appends.

Usage: python -m benchmarks.lines.by_duckdb LANDING LAKE
"""

from benchmarks.duck import connected, write
from benchmarks.generated import CHANNELS, COUNTRIES, CSV, CSV_COLUMNS
from benchmarks.lines import usual
from benchmarks.script import Paths, run

# `country in (…)` is a join to DuckDB, and a join keeps no order: lines are numbered as they were sent, in `came`;
# text that is read as a decimal of 38 digits at once takes fifty times as long
LINES = f"""
    create table lines as
    select order_no, line_no, cast(ordered_at as date) as day, sku, description, quantity, unit_price,
        cast(quantity * unit_price as decimal(38, 3)) as net_amount, customer_id, country, currency, channel,
        ordered_at, saved_at, came,
        coalesce(
            line_no >= 1 and regexp_full_match(sku, '[0-9]{{5}}A?') and quantity <> 0 and unit_price >= 0
            and country in {COUNTRIES} and currency = 'GBP' and channel in {CHANNELS} and saved_at >= ordered_at,
            false
        ) as is_right
    from (
        select rowid as came, * replace (
            try_cast(line_no as bigint) as line_no,
            try_cast(quantity as bigint) as quantity,
            cast(try_cast(unit_price as decimal(18, 3)) as decimal(38, 3)) as unit_price,
            try_cast(customer_id as bigint) as customer_id,
            try_cast(ordered_at as timestamptz) as ordered_at,
            try_cast(saved_at as timestamptz) as saved_at
        )
        from sent
    )
"""
RIGHT = """
    select * exclude (is_right, came) from lines
    where came in (select max(came) from lines where is_right group by order_no, line_no)
"""
SALES = """
    select day, country, count(distinct order_no) as orders, count(*) as lines,
        cast(sum(net_amount) as decimal(38, 3)) as net_amount
    from {} group by day, country order by day, country
"""


def work(paths: Paths) -> None:
    duck, silver = connected(), paths.table("silver/order_lines")
    files = [str(file) for file in paths.files]
    duck.execute(  # to look for the dialect of each of 365 files takes longer than to read them
        "create table sent as from read_csv($files, header = true, auto_detect = false, columns = $columns, "
        "filename = 'source_file')",
        {"files": files, "columns": dict.fromkeys(CSV_COLUMNS, "varchar")},
    )
    write(duck, "from sent", paths.table("bronze/sent_lines"))
    duck.execute(LINES)
    write(
        duck, "select * exclude (is_right, came) from lines where not is_right", paths.table("quarantine/order_lines")
    )
    if paths.is_first:
        write(duck, RIGHT, silver)
    else:
        usual.merge(silver, duck.sql(RIGHT).pl())
    write(duck, SALES.format(f"delta_scan('{silver}')"), paths.table("gold/daily_sales"), instead=True)


if __name__ == "__main__":
    run(work, CSV)
