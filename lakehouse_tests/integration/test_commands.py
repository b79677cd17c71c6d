"""The commands as a person types them, each in a process of its own."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake
from rich.console import Console

from lakehouse import cli, drawn, tables
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse_tests import forked
from lakehouse_tests.house.house import ROOT
from lakehouse_tests.integration.dagster_dev import until
from lakehouse_tests.without_spark import without_spark

TABLES = tables_in(tables)
STATUS = [
    "key", "layer", "address", "version", "rows", "bytes", "updated_at", "quarantined", "quarantine", "stale",
    "last_run", "foreign", "restored", "unreadable",
]  # fmt: skip
SHOW_ASIDE = 'lakehouse sql "select source_file, source_row, reasons, row from quarantine.bronze_erp_orders"'
ENVIRONMENT: str | None = None  # another than that without Spark
type Command = Callable[..., subprocess.CompletedProcess[str]]


def command(home: Path) -> Command:
    """`lakehouse …` in a process and a home of its own."""

    def run(*arguments: str, exits: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {**without_spark(home), **os.environ, "LAKEHOUSE_HOME": str(home), "COLUMNS": "200"}
        environment |= {"LAKEHOUSE_ENVIRONMENT": ENVIRONMENT} if ENVIRONMENT else {}
        done = forked.lakehouse(*arguments, at=ROOT, environment=environment)
        assert done.returncode == exits, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def lakehouse(tmp_path: Path) -> Command:
    return command(tmp_path)


def test_ctrl_c_ends_a_run_and_the_next_one_goes_on(lakehouse: Command, tmp_path: Path):
    lakehouse("land", "--from", "2010-12-01", "--to", "2010-12-01")
    environment = {**without_spark(tmp_path), **os.environ, "LAKEHOUSE_HOME": str(tmp_path)}
    begun = subprocess.Popen(
        [sys.executable, "-m", "lakehouse.cli", "run"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # a shell lets what it runs in the background ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 # no thread here
    )  # fmt: skip
    until((tmp_path / "lake" / "bronze" / "erp_orders" / "_delta_log").exists, 120, what="the first table")
    begun.send_signal(signal.SIGINT)
    said, _ = begun.communicate(timeout=120)
    assert said.strip() == "Stopped. What was written stands whole; the rest is still due: lakehouse run"
    assert begun.returncode == 130
    assert "tables written" in lakehouse("run").stdout


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a day of orders landed and was drained. Copy it: `drained`."""
    home = tmp_path_factory.mktemp("first day")
    command(home)("land", "--from", "2010-12-01", "--to", "2010-12-01")
    command(home)("run")
    return home


@pytest.fixture
def drained(first_day: Path, tmp_path: Path, lakehouse: Command) -> Command:
    shutil.copytree(first_day, tmp_path, dirs_exist_ok=True)
    return lakehouse


def pollute(home: Path, day: str, *lines: str) -> None:
    folder = home / "landing" / "erp" / "orders" / f"dt={day}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orders.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def test_ctrl_c_is_heard_also_while_python_clears_away_an_object(capsys: pytest.CaptureFixture[str]):
    class Cleared:
        def __del__(self):
            raise KeyboardInterrupt

    def clear_away_and_go_on() -> None:
        Cleared()
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt), cli._told_when_stopped():
        clear_away_and_go_on()
    assert "Exception ignored" not in capsys.readouterr().err


def test_a_source_in_shadow_is_taken_beside_and_read_by_nothing_until_it_is_switched_on(
    lakehouse: Command, tmp_path: Path
) -> None:
    lakehouse("land", "--from", "2010-12-01", "--to", "2010-12-03")
    file = tmp_path / "environments" / "without_spark.yaml"
    settings = file.read_text()
    file.write_text(settings + "sources: {bronze/erp_returns: shadow, bronze/erp_customers: off}\n")
    said = lakehouse("run").stdout
    assert "bronze/erp_returns is in shadow here" in said
    assert "bronze/erp_customers is switched off here" in said
    in_shadow = asked(lakehouse, "select count(*) as n from shadow.bronze_erp_returns")
    assert int(in_shadow) > 0
    assert asked(lakehouse, "select count(*) from silver.orders where order_no like 'C%'") == "0"
    assert "bronze.erp_customers" not in lakehouse("sql", "show tables").stdout
    assert "Nothing changed" in lakehouse("run").stdout
    file.write_text(settings)
    lakehouse("run")
    assert asked(lakehouse, "select count(*) from silver.orders where order_no like 'C%'") == in_shadow


def asked(lakehouse: Command, statement: str) -> str:
    """The one value of a query's one row."""
    return lakehouse("sql", statement).stdout.splitlines()[1].strip()


def test_a_switch_of_what_no_table_is_says_which_was_meant(lakehouse: Command, tmp_path: Path) -> None:
    lakehouse("status")
    with (tmp_path / "environments" / "without_spark.yaml").open("a") as file:
        file.write("sources: {bronze/erp_retruns: off}\n")
    said = lakehouse("run", exits=2).stderr
    assert "switches bronze/erp_retruns (did you mean bronze/erp_returns?) under `sources:`" in said


def test_a_branch_reads_what_production_made_and_writes_to_a_lake_of_its_own(
    drained: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_branch = (tmp_path / "environments" / "without_spark.yaml").read_text().replace("path: l", "path: branch/l")
    (tmp_path / "environments" / "branch.yaml").write_text(of_branch + "reads_from: without_spark\n")
    whole = asked(drained, "select count(*) from silver.orders")
    story = drained("why", "silver/orders", "536365").stdout
    before = everything_in(tmp_path / "lake")
    monkeypatch.setattr("lakehouse_tests.integration.test_commands.ENVIRONMENT", "branch")
    said = drained("run").stdout
    assert "Nothing changed" in said
    assert "tables not made here and read from without_spark. To make one here: lakehouse rebuild" in said
    assert asked(drained, "select count(*) from silver.orders") == whole, "also in SQL"
    status = drained("status").stdout
    assert "read from without_spark" in status
    assert "is due" not in status
    assert drained("why", "silver/orders", "536365").stdout == story, "of production's tables, and what it set aside"
    said = drained("rebuild", "silver/orders", "--compare", exits=1).stdout
    assert f"silver/orders: no difference: {whole} rows the same" in said, "as production has them"
    said = drained("rebuild", "silver/orders+").stdout
    assert f"silver/orders: {whole} rows written, version 1" in said
    assert "gold/customer_value" in said
    assert asked(drained, "select count(*) from silver.orders") == whole
    made = [str(each.relative_to(tmp_path / "branch/lake")) for each in (tmp_path / "branch/lake").glob("[sg]*/*")]
    assert "silver/orders" in made
    assert "silver/customers" not in made, "it is read, not made"
    assert not (tmp_path / "branch/lake/bronze").exists()
    assert everything_in(tmp_path / "lake") == before, "what is read from is never written"
    assert "Nothing changed" in drained("run").stdout


def everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    files = (each for each in folder.rglob("*") if each.is_file())
    return {str(each): (each.stat().st_size, each.stat().st_mtime_ns) for each in files}


@pytest.mark.long
def test_a_history_in_a_branch_is_that_of_production(
    drained: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained("land", "--from", "2010-12-04", "--to", "2010-12-12")
    drained("run")
    whole = asked(drained, "select count(*) from silver.customer_history")
    of_branch = (tmp_path / "environments" / "without_spark.yaml").read_text().replace("path: l", "path: branch/l")
    (tmp_path / "environments" / "branch.yaml").write_text(of_branch + "reads_from: without_spark\n")
    monkeypatch.setattr("lakehouse_tests.integration.test_commands.ENVIRONMENT", "branch")
    said = drained("rebuild", "silver/customer_history").stdout
    assert int(whole) > 0
    assert f"silver/customer_history: {whole} rows written" in said


@pytest.mark.long
def test_what_production_takes_later_comes_to_the_branch_once(
    drained: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_branch = (tmp_path / "environments" / "without_spark.yaml").read_text().replace("path: l", "path: branch/l")
    (tmp_path / "environments" / "branch.yaml").write_text(of_branch + "reads_from: without_spark\n")
    monkeypatch.setattr("lakehouse_tests.integration.test_commands.ENVIRONMENT", "branch")
    drained("rebuild", "silver/orders")
    monkeypatch.setattr("lakehouse_tests.integration.test_commands.ENVIRONMENT", None)
    drained("land", "--from", "2010-12-02", "--to", "2010-12-02")
    drained("run")
    more = asked(drained, "select count(*) from silver.orders")
    monkeypatch.setattr("lakehouse_tests.integration.test_commands.ENVIRONMENT", "branch")
    assert "silver/orders" in drained("run").stdout
    assert asked(drained, "select count(*) from silver.orders") == more
    assert "Nothing changed" in drained("run").stdout


def test_the_demo_ends_with_rows_places_and_next_steps_and_changes_nothing_a_second_time(lakehouse: Command) -> None:
    first = lakehouse("demo").stdout
    assert re.search(r"erp/orders +71 +2010-12-01 to 2011-02-28 +4,101 documents +22 +13", first)
    assert re.search(r"erp/products +13 +2010-12-06 to 2011-02-28 +37,457 rows *\n", first)
    assert "184 files written, 0 already there. They lie below " in first
    for said in (
        "bronze/erp_returns",
        "bronze/fx_monthly",
        "gold/returns_rate",
        "gold/daily_sales",
        "make dev",
        "lakehouse sql",
    ):
        assert said in first
    second = lakehouse("demo").stdout
    assert "Nothing changed" in second
    assert "0 files written, 184 already there. They lie below " in second


def test_status_of_tables_that_were_never_written_has_no_versions(lakehouse: Command) -> None:
    found = json.loads(lakehouse("status", "--json").stdout)
    assert [(each["version"], each["rows"], each["last_run"]) for each in found] == [(None, None, None)] * len(TABLES)


def test_a_plan_names_what_is_not_there_yet_and_says_the_same_in_json(lakehouse: Command) -> None:
    *lines, last = lakehouse("plan").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["+", f"{each.declaration.key}:"] for each in TABLES]
    assert last == f"{len(TABLES)} tables changed by the next run that writes it, 0 as the contract says."
    found = json.loads(lakehouse("plan", "silver/orders", "--json").stdout)
    assert [(each["key"], each["version"], each["answer"], each["files"]) for each in found] == [
        ("silver/orders", None, "compatible", 0)
    ]
    assert "'silver/order' names no table" in lakehouse("plan", "silver/order", exits=2).stderr


def test_status_of_tables_that_were_never_written_says_what_to_do(lakehouse: Command) -> None:
    assert "Nothing was written yet. Next: let files land, then lakehouse run" in lakehouse("status").stdout
    landed = lakehouse("land", "--from", "2010-12-01", "--to", "2010-12-01").stdout
    assert "3 files written, 0 already there. Next: lakehouse run" in landed
    waiting = "1 file for bronze/erp_orders, 1 file for bronze/erp_returns, 1 file for bronze/fx_monthly"
    assert f"Landed, and not read yet: {waiting}. Next: lakehouse run" in lakehouse("status").stdout


def test_status_in_json_says_where_every_table_stands(drained: Command) -> None:
    found = json.loads(drained("status", "--json").stdout)
    assert [list(each) for each in found] == [STATUS] * len(TABLES)
    orders = next(each for each in found if each["key"] == "silver/orders")
    assert (orders["layer"], orders["rows"], orders["version"], orders["stale"]) == ("silver", 141, 1, False)
    assert orders["last_run"]["status"] == "SUCCESS"
    assert Path(orders["address"]).is_dir()


def test_what_is_set_aside_at_landing_ends_the_run_with_1_and_the_rest_is_taken(
    drained: Command, tmp_path: Path
) -> None:
    pollute(tmp_path, "2010-12-02", "{torn", '{"order_no": "1"}')
    said = drained("run", exits=1).stdout
    assert "1 set aside" in said
    assert "check records_are_readable is red:\n        erp/orders/dt=2010-12-02/orders.jsonl.gz, line 1: not" in said
    assert SHOW_ASIDE in said
    assert f"What bronze/erp_orders set aside, and why: {SHOW_ASIDE}" in drained("status").stdout
    asked = drained(*shlex.split(SHOW_ASIDE)[1:]).stdout
    assert "erp/orders/dt=2010-12-02/orders.jsonl.gz" in asked
    assert "{torn" in asked
    assert "Nothing changed" in drained("run").stdout


@pytest.mark.long
def test_a_rebuild_goes_on_past_what_was_once_set_aside_and_says_what_else_is_due(
    drained: Command, tmp_path: Path
) -> None:
    pollute(tmp_path, "2010-12-02", "{torn")
    drained("run", exits=1)
    pollute(tmp_path, "2010-12-03")
    said = drained("rebuild", "bronze/erp_orders+").stdout
    assert [line.split()[1] for line in said.splitlines() if "✓" in line] == [
        "bronze/erp_orders:", "silver/order_lines:", "silver/orders:", "gold/customer_value:", "gold/daily_sales:",
        "gold/product_performance:", "gold/returns_rate:", "gold/monthly_revenue_usd:",
    ]  # fmt: skip
    assert "There is more to do for bronze/erp_orders. Next: lakehouse run" in said


def test_a_rebuild_names_the_tables_that_cannot_go_on_after_it(drained: Command) -> None:
    said = drained("rebuild", "bronze/erp_orders").stdout
    assert "silver/order_lines, silver/orders will have to be made anew after it; bronze/erp_orders+ does both." in said
    assert "Next: lakehouse rebuild silver/order_lines+\nNext: lakehouse rebuild silver/orders+\n" in said
    assert "lakehouse run" not in said
    stuck = drained("status").stdout
    assert "version 2 took 1 file away" in stuck
    assert "Make it anew: lakehouse rebuild silver/orders+" in stuck
    drained("rebuild", "silver/orders+")
    drained("rebuild", "silver/order_lines+")
    assert "anew" not in drained("status").stdout


def test_files_are_read_again_on_purpose_and_count_once(drained: Command) -> None:
    said = drained("reingest", "bronze/erp_orders", "--files", "dt=2010-12-01/*").stdout
    assert "✓ bronze/erp_orders: 137 rows written, version 2" in said
    assert "There is more to do for silver/order_lines, silver/orders. Next: lakehouse run" in said
    drained("run")
    found = {each["key"]: each["rows"] for each in json.loads(drained("status", "--json").stdout)}
    expected = {"bronze/erp_orders": 274, "silver/orders": 141, "silver/order_lines": 3093, "gold/daily_sales": 7}
    assert {key: found[key] for key in expected} == expected
    missing = drained("reingest", "bronze/erp_orders", "--files", "dt=2011*/*", exits=1).stdout
    assert "'dt=2011*/*' fits none of 1 file that were read and still lie there, such as erp/orders/dt=20" in missing
    assert "silver/orders reads no files" in drained("reingest", "silver/orders", "--files", "*", exits=2).stderr


def test_why_tells_where_a_row_is_from_and_what_was_made_of_it(drained: Command) -> None:
    said = drained("why", "silver/orders", "536365").stdout
    assert "silver/orders, order_no = 536365" in said
    assert "bronze/erp_orders  erp/orders/dt=2010-12-01/orders.jsonl.gz  1           1      1" in said
    assert "Was set aside: nothing" in said
    assert "Made of it: gold/daily_sales" in said
    assert "'silver/ordrs' names no table. Known: " in drained("why", "silver/ordrs", "1", exits=2).stderr


def test_a_table_is_shown_as_it_stood_and_what_two_versions_differ_in(drained: Command) -> None:
    drained("land", "--from", "2010-12-02", "--to", "2010-12-02")
    drained("run")
    versions = json.loads(drained("table", "history", "silver/orders", "--json").stdout)
    assert [each["version"] for each in versions] == [2, 1, 0]
    assert versions[1]["note"] == "bronze/erp_orders 1, bronze/erp_returns 1"
    assert (
        "2 older versions not shown: --limit 3" in drained("table", "history", "silver/orders", "--limit", "1").stdout
    )
    before, now = versions[1]["rows_added"], asked(drained, "select count(*) from silver.orders")
    shown = drained("table", "show", "silver/orders", "--version", "1", "--limit", "2").stdout
    assert shown.splitlines()[-1] == f"2 of {before} rows of silver/orders, version 1"
    assert shown.splitlines()[1].split()[0] == "536365"
    then = drained("table", "show", "silver/orders", "--as-of", versions[1]["committed_at"]).stdout
    assert then.endswith(f"of {before} rows of silver/orders, version 1\n")
    said = drained("table", "diff", "silver/orders", "1").stdout
    assert f"silver/orders, version 1 to 2: {before} rows the same, {int(now) - before} new, 0 gone, 0 changed" in said
    assert "•••" in said, "who bought is personal"
    assert (
        "of which zone? Say 2010-12-01T00:00:00Z for UTC"
        in drained("table", "show", "silver/orders", "--as-of", "2010-12-01", exits=2).stderr
    )
    assert "has versions 0 to 2, and no version 9." in drained("table", "diff", "silver/orders", "9", exits=1).stderr


def test_a_table_is_optimized_vacuumed_and_profiled(drained: Command, tmp_path: Path) -> None:
    for day in ("02", "03"):
        drained("land", "--from", f"2010-12-{day}", "--to", f"2010-12-{day}")
        drained("run")
    before = drained("sql", "select * from silver.orders order by all").stdout
    assert "3 would become 1, 411 rows" in drained("table", "optimize", "silver/orders", "--dry-run").stdout
    by_day = ("table", "optimize", "silver/orders", "--dry-run", "--zorder")
    assert "411 rows would be laid by day, " in drained(*by_day, "day").stdout
    said = drained("table", "optimize", "silver/orders").stdout
    assert said.startswith("silver/orders, version 3 to 4: 3 files, ")
    assert "bytes, 100% small before, 1 file, " in said
    assert "version 4: nothing to join: 1 file, " in drained("table", "optimize", "silver/orders").stdout
    refused = drained("table", "optimize", "bronze/erp_orders", "--zorder", "country", exits=1).stderr
    assert "bronze/erp_orders is written by Append" in refused
    assert "it has no column land" in drained("table", "optimize", "silver/orders", "--zorder", "land", exits=1).stderr
    assert "nothing to lay by day" in drained(*by_day, "day").stdout
    assert "it has no column land" in drained(*by_day, "land", exits=1).stderr
    assert "0 small (0%): nothing to join" in drained("table", "optimize", "silver/orders", "--dry-run").stdout
    assert "0 files would go" in drained("table", "vacuum", "silver/orders", "--dry-run").stdout
    refused = drained("table", "vacuum", "silver/orders", "--retain-hours", "1", exits=1).stderr
    assert "1 hours is less than" in refused
    assert "gold/daily_sales stands at version 3 of 4" in refused
    forced = ("table", "vacuum", "silver/orders", "--retain-hours", "0", "--override-retention")
    assert "version 4: 3 files would go" in drained(*forced, "--dry-run").stdout
    assert "version 4: 3 files removed" in drained(*forced).stdout
    assert drained("sql", "select * from silver.orders order by all").stdout == before
    gone = drained("table", "show", "silver/orders", "--version", "2", exits=1).stderr
    assert "version 2 can no longer be read: 2 files of it missing, " in gone
    assert "Nothing changed: nothing is due" in drained("run").stdout
    told = json.loads(drained("table", "profile", "silver/orders", "--json").stdout)
    by = {each["column"]: each for each in told}
    assert (by["customer_id"]["min"], by["customer_id"]["top"]) == ("•••", None)
    assert by["country"]["top"].startswith("United Kingdom (385), ")
    assert "411 rows of silver/orders, version 4" in drained("table", "profile", "silver/orders").stdout
    for version in range(4):
        (tmp_path / "lake/silver/orders/_delta_log" / f"{version:020d}.json").unlink()
    history = drained("table", "history", "silver/orders").stdout
    assert history.endswith("Of 4 older versions the log was cleaned away.\n")


def test_a_table_is_put_back_with_all_that_has_read_it_and_a_run_reads_again_what_came_since(drained: Command) -> None:
    drained("land", "--from", "2010-12-02", "--to", "2010-12-02")
    drained("run")
    asking = "select count(*), sum(net_amount) from gold.daily_sales"
    was, restore = asked(drained, asking), ("table", "restore", "bronze/erp_orders", "--version", "1")
    refused = drained(*restore, exits=1)
    assert "tables downstream would keep rows that were made of what goes: silver/" in refused.stderr
    assert refused.stderr.strip().endswith("lakehouse table restore bronze/erp_orders --version 1 --downstream")
    planned = drained(*restore, "--downstream", "--dry-run").stdout
    assert "bronze/erp_orders: from version 2 to what stood at version 1: 0 rows in 0 files come back, " in planned
    assert "1 file of its source will count as new again" in planned
    assert planned.endswith("Nothing was written: --dry-run.\n")
    done = drained(*restore, "--downstream").stdout
    assert "silver/orders is put back, as version 3. To undo: lakehouse table restore silver/orders --version 2" in done
    assert done.endswith("To read again what came since: lakehouse run\n")
    assert asked(drained, asking) != was
    newest = json.loads(drained("table", "history", "bronze/erp_orders", "--json").stdout)[0]
    assert (newest["operation"], newest["note"]) == ("RESTORE", "batch 1, restored 1")
    [orders] = [each for each in json.loads(drained("status", "--json").stdout) if each["key"] == "silver/orders"]
    assert (orders["version"], orders["restored"]) == (3, 1)
    assert "put back to version 1" in drained("status").stdout
    assert "Landed, and not read yet: 1 file for bronze/erp_orders" in drained("status").stdout
    assert "stands as it did at version 1" in drained(*restore, "--downstream").stdout
    drained("run")
    assert asked(drained, asking) == was
    assert "--version 12 or --as-of" in drained("table", "restore", "silver/orders", exits=2).stderr
    before = json.loads(drained("table", "history", "silver/orders", "--json").stdout)[0]["committed_at"]
    assert "as it did at version 4" in drained("table", "restore", "silver/orders", "--as-of", before).stdout


def test_a_table_is_made_anew_as_of_a_time_and_the_next_run_reads_on_from_there(drained: Command) -> None:
    first = json.loads(drained("table", "history", "silver/orders", "--json").stdout)[0]["committed_at"]
    drained("land", "--from", "2010-12-02", "--to", "2010-12-02")
    drained("run")
    asking = "select count(*) from silver.orders"
    was = asked(drained, asking)
    drained("rebuild", "silver/orders", "--as-of", first)
    assert asked(drained, asking) != was
    newest = json.loads(drained("table", "history", "silver/orders", "--json").stdout)[0]
    assert newest["note"].endswith(f"reads bronze/erp_orders as of {first}, bronze/erp_returns as of {first}")
    drained("run")
    assert asked(drained, asking) == was
    assert "reads files and no table" in drained("rebuild", "bronze/erp_orders", "--as-of", first, exits=2).stderr


def test_a_damaged_file_is_found_and_a_rebuild_mends_the_table(drained: Command, tmp_path: Path) -> None:
    def rows(key: str) -> str:
        return drained("sql", f"select * from {key.replace('/', '.')} order by all").stdout

    for key in ("silver/orders", "bronze/erp_orders"):
        before = rows(key)
        file = next((tmp_path / "lake" / key).glob("*.parquet"))
        whole = file.read_bytes()
        file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        kept = {each: each.read_bytes() for each in (tmp_path / "lake" / "ledger" / key).glob("*.parquet")}
        for ledger, was in kept.items():
            ledger.write_bytes(was[:-1])
        said = drained("table", "check", key, exits=1).stdout
        assert f"{file.name} is not as it was written: its checksum is another" in said
        assert f"Next: lakehouse rebuild {key}" in said
        assert len(kept) == key.startswith("bronze")
        for ledger, was in kept.items():
            assert f"{key}, its ledger, version 1: 1 file, 1 row, 1 damaged" in said
            assert f"{ledger.name} has {len(was) - 1:,} bytes, and {len(was):,} by the log" in said
            assert f"Next: put {ledger.parent} back as it was, or move it and " in said
            ledger.write_bytes(was)
        drained("rebuild", key)
        assert ", all as written" in drained("table", "check", key).stdout
        assert rows(key) == before


def test_versions_that_another_writer_let_overlap_are_found(drained: Command, tmp_path: Path) -> None:
    key = "silver/customer_history"
    drained("land", "--from", "2010-12-04", "--to", "2010-12-04")
    drained("run")
    assert ", all as written" in drained("table", "check", key).stdout
    folder = tmp_path / "lake" / key
    write_deltalake(str(folder), pl.read_delta(str(folder)).head(1), mode="append")
    said = drained("table", "check", key, exits=1).stdout
    assert "1 of its versions overlap the next one, leave a gap before it or end before they begin" in said
    assert f"Next: lakehouse rebuild {key}" in said


def test_a_checkpoint_that_lies_is_found_and_made_anew(drained: Command, tmp_path: Path) -> None:
    before = drained("sql", "select * from silver.orders order by all").stdout
    drained("table", "repair", "silver/orders")
    [checkpoint] = (tmp_path / "lake/silver/orders/_delta_log").glob("*.checkpoint.parquet")
    summed = pl.read_parquet(checkpoint)
    summed.filter(pl.col("add").is_null()).write_parquet(checkpoint)
    said = drained("table", "check", "silver/orders", exits=1).stdout
    assert f"{checkpoint.name} tells of other files than the log" in said
    assert "Next: lakehouse table repair silver/orders" in said
    assert f"{checkpoint.name} moved aside" in drained("table", "repair", "silver/orders").stdout
    assert ", all as written" in drained("table", "check", "silver/orders").stdout
    assert drained("sql", "select * from silver.orders order by all").stdout == before


def test_fields_that_no_column_declares_do_not_pass_in_silence(drained: Command, tmp_path: Path) -> None:
    taken = gzip.decompress((tmp_path / "landing/erp/orders/dt=2010-12-01/orders.jsonl.gz").read_bytes()).decode()
    first = taken.splitlines()[0]
    pollute(tmp_path, "2010-12-02", first.replace("{", '{"voucher":"X1",', 1), first)
    said = drained("run").stdout
    assert "2 rows written, version 2, 1 with fields that no column declares, kept in extra, 4 of 4 checks" in said


def test_a_file_that_cannot_be_read_is_named_with_the_reason(drained: Command, tmp_path: Path) -> None:
    pollute(tmp_path, "2010-12-02")
    (tmp_path / "landing" / "erp" / "orders" / "dt=2010-12-02" / "orders.jsonl.gz").write_bytes(b"no gzip")
    said = drained("run", exits=1).stdout
    assert "check files_are_readable is red:\n        erp/orders/dt=2010-12-02/orders.jsonl.gz cannot be read: " in said
    assert "Not a gzipped file" in said


def test_what_a_corrected_file_no_longer_holds_is_named(drained: Command, tmp_path: Path) -> None:
    file = tmp_path / "landing" / "erp" / "orders" / "dt=2010-12-01" / "orders.jsonl.gz"
    first, *rest = gzip.decompress(file.read_bytes()).decode().splitlines()
    pollute(tmp_path, "2010-12-01", *rest)
    said = drained("run").stdout
    still = f"check corrections_hold_what_they_held is red:\n        {json.loads(first)['order_no']} still stands"
    assert said.count(still) == 2
    assert SHOW_ASIDE not in said


def test_where_nothing_was_set_aside_the_quarantine_is_asked_all_the_same(drained: Command) -> None:
    said = drained("sql", "select source_file, source_row, reasons, row from quarantine.silver_orders").stdout
    assert said.split() == ["source_file", "source_row", "reasons", "row", "0", "rows"]
    assert "set aside, and why" not in drained("status").stdout


def test_a_value_is_never_cut_nor_taken_for_markup_where_it_is_piped(lakehouse: Command) -> None:
    value = "[red]" + "x" * 400
    assert lakehouse("sql", f"select '{value}' as long").stdout.split() == ["long", value, "1", "row"]


def test_on_a_narrow_terminal_a_long_value_goes_on_below_and_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=40, file=io.StringIO(), record=True)
    monkeypatch.setattr(drawn, "out", console)
    drawn.draw_rows(["source_file", "row"], [["erp/orders/dt=2010-12-02/orders.jsonl.gz", "{" + "x" * 60]])
    said = console.export_text()
    assert "…" not in said
    assert said.count("x") == 60


def test_the_help_of_a_command_says_what_its_argument_is(lakehouse: Command) -> None:
    assert "A table, silver/orders; with + also all that is downstream." in lakehouse("rebuild", "--help").stdout
    assert "As in: " in lakehouse("sql", "--help").stdout


def test_a_rebuild_says_first_that_nothing_differs_and_then_writes(drained: Command) -> None:
    said = drained("rebuild", "silver/orders+", "--compare", "--yes").stdout
    assert said.count("no difference") == 5
    assert said.count("It would mark the rows as of today's logic, and fill the quarantine anew.") == 5
    assert "silver/orders: 141 rows written, version 2" in said
    assert "gold/daily_sales" in said
    assert "Nothing changed" in drained("run").stdout


def test_a_rebuild_shows_the_exact_difference_and_left_unanswered_writes_nothing(
    drained: Command, tmp_path: Path
) -> None:
    import polars as pl

    from lakehouse.engine.declare.ports import Address
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.writes import overwrite

    handle = Handle.open(Address(str(tmp_path / "lake" / "silver" / "orders")))
    assert handle is not None
    tampered = handle.scan().with_columns(
        country=pl.when(pl.col("order_no") == "536365").then(pl.lit("Atlantis")).otherwise("country")
    )
    overwrite(handle, tampered.filter(pl.col("order_no") != "536366"), {}, {})
    said = drained("rebuild", "silver/orders", "--compare", exits=1).stdout
    assert "139 rows the same, 1 new, 0 gone, 1 changed" in said
    assert "Atlantis" in said
    reopened = Handle.open(handle.address)
    assert reopened is not None
    assert reopened.version == 2


def test_a_wrong_table_statement_day_or_environment_ends_with_2_and_a_sentence(
    lakehouse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = "names no table. Known: bronze/erp_customers, bronze/erp_orders, "
    assert known in lakehouse("rebuild", "silver/ordrs", exits=2).stderr
    assert "syntax error" in lakehouse("sql", "selec 1", exits=2).stderr
    assert "There are: quarantine.bronze_erp_customers" in lakehouse("sql", "", exits=2).stderr
    lakehouse("land", "--from", "2010-12-32", exits=2)
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "prodction")
    assert "did you mean production?" in lakehouse("status", exits=2).stderr


def test_a_secret_that_is_missing_is_asked_for_by_name_in_the_run(
    lakehouse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "test")
    monkeypatch.setenv("AZURITE_PORT", "9")
    said = lakehouse("run", exits=1).stderr
    assert "AZURITE_KEY is not set" in said
    assert "test.yaml" in said
