"""`lakehouse new table` as a person types it, in a project of their own: what it writes passes and runs as it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from lakehouse_tests.house.house import ROOT
from lakehouse_tests.house.project import Project

PYRIGHT = ROOT / "node_modules/.bin/pyright"
SOURCES = {
    "customers": ("erp/customers/dt=*/*.csv", "erp_customers", "customer_id"),
    "returns": ("erp/returns/dt=*/*.gz", "erp_returns", "order_no"),
    "products": ("erp/products/dt=*/*.csv", "erp_products", "sku"),
    "orders": ("erp/orders/dt=*/orders.jsonl.gz", "erp_orders", "order_no"),
    "rates": ("reference/*.csv.gz", "reference", "date || country"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which days on both sides of the products' changes have landed, and five sources were proposed."""
    made = Project.copied(tmp_path_factory.mktemp("project"), tables=False)
    for first, last in (("2010-12-01", "2010-12-12"), ("2011-05-30", "2011-06-06"), ("2011-09-05", "2011-09-06")):
        made.land_example(first, last)
    for name, (pattern, bronze, _) in SOURCES.items():
        said = made("new", "table", "silver", name, "--from", pattern, "--zone", "Europe/London")
        assert f"lakehouse/tables/bronze/{bronze}.py" in said
        assert "would be set aside" not in said
    return made


def written(project: Project) -> list[str]:
    return [
        str(path)
        for folder in ("lakehouse/tables", "lakehouse_tests/tables")
        for path in (project.root / folder).rglob("*.py")
    ]


def test_the_linter_and_the_formatter_have_nothing_to_say(project: Project):
    ruff = str(Path(sys.executable).with_name("ruff"))
    assert len(written(project)) == 4 * len(SOURCES) + 3
    project.asks(ruff, "check", *written(project))
    project.asks(ruff, "format", "--check", *written(project))


def test_the_strict_type_checker_accepts_them(project: Project):
    if not PYRIGHT.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true and pyright is missing: it comes from npm (make test)")
        pytest.skip("pyright is missing: it comes from npm (make test)")
    (project.root / "pyrightconfig.json").write_text(
        json.dumps(
            {"include": ["lakehouse/tables", "lakehouse_tests/tables"], "strict": ["."], "pythonVersion": "3.12"}
        )
    )
    said = json.loads(project.asks(str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable))
    assert (said["summary"]["filesAnalyzed"], said["generalDiagnostics"]) == (4 * len(SOURCES) + 3, [])


def test_their_tests_pass(project: Project):
    said = project.asks(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "lakehouse_tests/tables")
    assert f"{2 * len(SOURCES) + 2} passed" in said  # one more of the lines of orders, and of returns


def test_they_run_and_take_every_record_with_the_keys_that_were_proposed(project: Project):
    said = project("run")
    assert "set aside" not in said
    stands = {each["key"]: each for each in json.loads(project("status", "--json"))}
    assert {each["quarantined"] for each in stands.values()} == {0}
    asked = (
        f"(select count(*) as {name}_kept, (select count(distinct {key}) from silver.{name}) as {name}_keys "
        f"from bronze.{bronze}) as {name}"
        for name, (_, bronze, key) in SOURCES.items()
    )
    said = project("sql", f"select * from {', '.join(asked)}").split()
    found = dict(zip(said[: 2 * len(SOURCES)], map(int, said[2 * len(SOURCES) :]), strict=False))
    for name, (_, bronze, _) in SOURCES.items():
        assert stands[f"bronze/{bronze}"]["rows"] == found[f"{name}_kept"]
        assert stands[f"silver/{name}"]["rows"] == found[f"{name}_keys"]
    products = (project.root / "lakehouse/tables/bronze/erp_products.py").read_text()
    assert 'formats=[Csv(), Csv(delimiter=";", encoding="cp1252")], valid_at="dt"' in products
    assert 'price_gbp: Decimal3 = column("Price gbp", nullable=True, text=number_text(prefix="£"))' in products
    assert "'list_price' came until" in products


def test_a_second_time_it_refuses_and_names_the_file_and_the_ways_out(project: Project):
    said = project("new", "table", "silver", "returns", "--from", "erp/returns/dt=*/*.gz", exits=2)
    assert "The table bronze/erp_returns is there already, in lakehouse/tables/bronze/erp_returns.py." in said
    assert "say another --bronze NAME. Nothing was written." in said


def test_a_dry_run_shows_the_files_and_writes_none(project: Project):
    before = written(project)
    said = project("new", "table", "bronze", "shown", "--from", "erp/returns/dt=*/*.gz", "--dry-run")
    assert "# lakehouse/tables/bronze/shown.py" in said
    assert "def test_a_record_reads_as_it_was_sent() -> None:" in said
    assert written(project) == before


def test_gold_and_a_pattern_without_files_are_refused(project: Project):
    assert "'gold' is made of no files" in project("new", "table", "gold", "x", "--from", "erp/*", exits=2)
    assert "No file below" in project("new", "table", "silver", "x", "--from", "erp/nothing/*", exits=2)


def test_files_of_another_connection_are_read_there_and_the_table_names_it(tmp_path: Path):
    project = Project.copied(tmp_path, tables=False)
    folders = (f"  {name}: {{type: local_disk, path: {name}}}\n" for name in ("landing", "lake", "shop"))
    (project.root / "resources/environments/local.yaml").write_text("connections:\n" + "".join(folders))
    (project.home / "shop/tills").mkdir(parents=True)
    (project.home / "shop/tills/1.csv").write_text("till,total\nT1,5.00\nT2,7.50\n")
    asked = ("new", "table", "silver", "takings", "--from", "tills/*.csv")
    said = project(*asked, "--connection", "shopp", exits=2)
    assert "bronze/tills reads from the connection 'shopp' (did you mean shop?)" in said
    assert "It has: landing, lake, shop. Add it there, or say another --connection. Nothing was written." in said
    assert written(project) == [str(project.root / "lakehouse/tables/__init__.py")]
    project(*asked, "--connection", "shop")
    bronze = (project.root / "lakehouse/tables/bronze/tills.py").read_text()
    assert '@table(source=Files("tills/*.csv", formats=Csv(), connection="shop"), write=Append())' in bronze
    project("run")
    assert {each["key"]: each["rows"] for each in json.loads(project("status", "--json"))}["silver/takings"] == 2
