"""What the commands say after a person edited a table's file: each test has a project of its own, and its home."""

from __future__ import annotations

import doctest
import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from lakehouse_tests.house.house import ROOT, child
from lakehouse_tests.house.project import Project
from lakehouse_tests.integration.test_guides import answers, blocks

RATES = """
import dagster as dg
import polars as pl


@dg.asset(key=["gold", "rates"], deps=[["silver", "orders"]])
def rates() -> pl.DataFrame:
    return pl.DataFrame({"day": ["2011-03-01"], "dollars": [1.6]})
"""
GUIDE = ROOT / "docs/changed-contracts.md"
_HUNKS = re.compile(r"((?:^-.*\n)+)((?:^\+.*\n)+)", re.MULTILINE)
SUM = 'net_amount=pl.col("net_amount").sum()'
MIXED = (
    "The logic of silver/orders changed since it was last made whole; rows stay as they were made, and new ones "
    "follow the new logic. Next: lakehouse rebuild silver/orders+"
)


def last_runs(project: Project) -> dict[str, str]:
    """How the last run of each table ended."""
    found = {each["key"]: each["last_run"] for each in json.loads(project("status", "--json"))}
    return {key: run["status"] for key, run in found.items() if run}


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a day of orders was drained."""
    made = Project.copied(tmp_path_factory.mktemp("project"), tables=True)
    made.leave_spark_out()
    _write_whole(made, "tables/gold/daily_sales.py")
    made.land_example("2010-12-01", "2010-12-01")
    made("run")
    return made.root


def _write_whole(project: Project, table: str) -> None:
    """What is edited here is written whole, so that it takes its new logic with the next run."""
    project.edit(table, "import Affected, Frame, Gbp, Gold, ReplacePartition,", "import Frame, Gbp, Gold, Overwrite,")
    project.edit(table, 'ReplacePartition("day")', "Overwrite()")
    project.edit(table, "Affected[Orders]", "Frame[Orders]")


@pytest.fixture
def project(first_day: Path, tmp_path: Path) -> Project:
    shutil.copytree(first_day, tmp_path / "project")
    return Project(tmp_path / "project")


def land_again(project: Project, day: str = "2010-12-01", other: str = "2010-12-02") -> None:
    """A day once more, as a file of another day with one order less."""
    days = project.root / "home" / "landing" / "erp" / "orders"
    shutil.copytree(days / f"dt={day}", days / f"dt={other}")
    file = days / f"dt={other}" / "orders.jsonl.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).split(b"\n", 1)[1]))


def test_one_refused_table_fails_alone_and_what_else_holds_of_it_is_said(project: Project) -> None:
    project.edit("tables/gold/daily_sales.py", SUM, f"{SUM} * 2")
    land_again(project)
    assert "✗ gold/daily_sales refused" in project("run", exits=1)
    runs = last_runs(project)
    assert [key for key, status in runs.items() if status != "SUCCESS"] == ["gold/daily_sales"]
    assert runs["gold/daily_sales"] == "FAILURE"
    assert runs["silver/orders"] == runs["gold/returns_rate"] == "SUCCESS"
    lines = project("status").splitlines()
    assert [line.split()[0] for line in lines if "last run failed" in line] == ["gold/daily_sales"]
    assert [line.split()[0] for line in lines if "logic changed, last run failed" in line] == ["gold/daily_sales"]


def test_a_table_that_was_not_attempted_in_a_run_keeps_what_its_own_last_one_said(project: Project) -> None:
    project.edit("tables/silver/orders.py", "returned]).select(", "returned]).head(5).select(")
    land_again(project)
    said = project("run", exits=1)
    assert "silver/orders refused" in said
    assert "gold/daily_sales" not in said
    last = last_runs(project)
    assert (last["silver/orders"], last["gold/daily_sales"]) == ("FAILURE", "SUCCESS")


def test_a_failure_that_is_not_due_any_more_says_how_to_run_the_table_anew(project: Project) -> None:
    project.edit("tables/gold/daily_sales.py", SUM, f"{SUM} * 2")
    project("run", exits=1)
    assert "failed, and it is due again. Next: lakehouse run" in project("status")
    project.edit("tables/gold/daily_sales.py", f"{SUM} * 2", SUM)
    assert "Nothing changed: nothing is due (" in project("run")
    way_out = "and nothing is due for it since: version 1 stands. To run it anew: lakehouse rebuild gold/daily_sales\n"
    assert f"The last run of gold/daily_sales failed, {way_out}" in project("status")
    project("rebuild", "gold/daily_sales")
    assert "failed" not in project("status")


def test_a_run_names_tables_of_two_logics_until_they_are_rebuilt_and_no_table_that_it_writes_whole(
    project: Project,
) -> None:
    project.edit("tables/silver/orders.py", '"country",', 'country=pl.col("country").str.to_uppercase(),')
    project.edit("tables/gold/daily_sales.py", '.sort("day", "country")', '.sort("country", "day")')
    land_again(project)
    said = project("run")
    assert "✓ gold/daily_sales" in said
    assert MIXED in said
    idle = project("run")
    assert "Nothing changed: nothing is due (" in idle
    assert MIXED in idle
    status = project("status")
    assert MIXED in status
    assert [line.split()[0] for line in status.splitlines() if "  logic of silver/orders changed" in line] == [
        "gold/customer_value",
        "gold/daily_sales",
        "gold/returns_rate",
        "gold/monthly_revenue_usd",
    ]
    project("rebuild", "silver/orders")
    assert "logic" not in project("run") + project("status")


def test_a_comparison_names_columns_that_come_and_go(project: Project) -> None:
    project.edit("tables/gold/daily_sales.py", "class DailySales", "DAYS = 1\n\n\nclass DailySales")
    project.edit("tables/gold/daily_sales.py", "    lines: int =", "    by_web: int =")
    project.edit("tables/gold/daily_sales.py", "            lines=", "            by_web=")
    said = project("rebuild", "gold/daily_sales", "--compare", "--yes")
    assert "gold/daily_sales: new column: by_web; column gone: lines; " in said
    assert "the same where they can be compared" in said
    assert "gold/daily_sales: no difference" in project("rebuild", "gold/daily_sales", "--compare", "--yes")


def test_the_guide_to_changed_contracts_shows_what_the_commands_say(project: Project) -> None:
    added, required = blocks(GUIDE, "diff")
    comes, refused = answers(GUIDE, "lakehouse run")
    planned, planned_anew = answers(GUIDE, "lakehouse plan silver/orders")
    change(project, added)
    assert project("plan", "silver/orders") == planned
    land_again(project)
    said = project("run")
    # the last line names gold/daily_sales too, which is written whole here
    assert [line for line in comes.splitlines()[:-1] if line not in said] == []
    assert MIXED in said
    assert "columns is_credit (Boolean) is added" in project("table", "history", "silver/orders")
    change(project, required)
    assert project("plan", "silver/orders", exits=1) == planned_anew
    land_again(project, "2010-12-02", "2010-12-03")
    assert refused in project("run", exits=1)


def test_what_python_says_in_the_guide_to_changed_contracts_is_what_it_says() -> None:
    found = doctest.testfile(str(GUIDE), module_relative=False)
    assert (found.failed, found.attempted) == (0, 7)


def change(project: Project, diff: str) -> None:
    """What a person does who follows a guide: each run of lines with a minus becomes the lines with a plus below."""
    name, *lines = diff.splitlines()
    for olds, news in _HUNKS.findall("\n".join(lines) + "\n"):
        old, new = ("\n".join(line[1:] for line in each.splitlines()) for each in (olds, news))
        project.edit(name.strip().removeprefix("lakehouse/"), old, new)


def test_the_table_of_a_plain_asset_is_seen_by_sql_and_status_and_not_rebuilt(project: Project) -> None:
    (project.root / "lakehouse" / "tables" / "gold" / "rates.py").write_text(RATES)
    assert "gold/rates" not in project("status")
    said = project("sql", "select * from gold.rates", exits=2)
    assert "gold.rates was not written yet. Next: dg launch --assets gold/rates\n" in said
    said = project("rebuild", "silver/orders+")
    assert "gold/rates is a plain Dagster asset and stands as it is. Next: dg launch --assets gold/rates\n" in said
    launched = child(
        "-c",
        "import dagster as dg\nfrom lakehouse.definitions import lakehouse\n"
        "from resources.dagster_home import open_instance\n"
        "job = lakehouse().resolve_implicit_global_asset_job_def()\n"
        "job.execute_in_process(asset_selection=[dg.AssetKey(['gold', 'rates'])], instance=open_instance())",
        at=project.root,
        home=project.root / "home",
    )
    assert launched.returncode == 0, launched.stderr
    assert project("sql", "select dollars from gold.rates").split() == ["dollars", "1.6", "1", "row"]
    rates = json.loads(project("status", "--json"))[-1]
    asked = ("key", "layer", "version", "rows", "quarantined", "quarantine", "stale")
    assert [rates[name] for name in asked] == ["gold/rates", "gold", 1, 1, 0, None, False]
    assert (rates["bytes"] > 0, rates["last_run"]["status"]) == (True, "SUCCESS")
    assert project("table", "history", "gold/rates").startswith(" version ")
    assert "version 0 to 1: 0 rows the same, 1 new" in project("table", "diff", "gold/rates", "0")
    assert "version 1: 1 file, 1 row, all as written" in project("table", "check", "gold/rates")
    (data,) = (project.home / "lake/gold/rates").glob("*.parquet")
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    assert "Next: dg launch --assets gold/rates\n" in project("table", "check", "gold/rates", exits=1)
    assert project("rebuild", "gold/rates", exits=2) == (
        "gold/rates is a plain Dagster asset and stands as it is. Next: dg launch --assets gold/rates\n"
    )
    said = project("table", "restore", "gold/rates", "--version", "0", "--dry-run")
    assert said.startswith("gold/rates: from version 1 to what stood at version 0: 0 rows in 0 files come back, 1 row")
    assert "gold/rates, version 1: 1 file, of which 0 small" in project("table", "optimize", "gold/rates", "--dry-run")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "    return (\n",
            "    return )\n",
            "daily_sales.py, line 30, cannot be imported:\n    return )\nSyntaxError: unmatched ')'\n",
        ),
        (
            "import Frame, Gbp",
            "import Fram, Gbp",
            "daily_sales.py, line 6, cannot be imported:\n    from lakehouse import Fram, Gbp, Gold, Overwrite, ",
        ),
        (
            "orders: int",
            "orders: decimal",
            "daily_sales.py, line 18, cannot be imported:\n    orders: decimal = column(",
        ),
    ],
)
def test_a_file_that_python_cannot_import_is_told_in_four_lines(
    project: Project, old: str, new: str, said: str
) -> None:
    project.edit("tables/gold/daily_sales.py", old, new)
    told = project("status", exits=1)
    assert told.startswith(f"lakehouse/tables/gold/{said}")
    assert told.endswith("The whole traceback: dg check defs\n")
    assert len(told.splitlines()) == 4


def test_a_word_that_a_table_does_not_have_is_told_with_the_one_that_was_meant(project: Project) -> None:
    project.edit("tables/gold/daily_sales.py", "owners=", "owner=")
    assert project("status", exits=1) == (
        "gold/daily_sales: @table has no owner=; did you mean owners=?\n"
        "    lakehouse/tables/gold/daily_sales.py, line 23\n"
    )


def test_an_error_of_the_engine_keeps_its_traceback(project: Project) -> None:
    project.edit("engine/orchestrate/table.py", '    words.setdefault("kinds",', '    {}["a bug"]\n    words.update(')
    told = project("status", exits=1)
    assert told.startswith("Traceback")
    assert "KeyError: 'a bug'" in told


def test_without_the_example_its_commands_are_not_offered(project: Project) -> None:
    offered = project("--help")
    assert "rebuild" in offered
    assert "demo" not in offered
    assert " land " not in offered
