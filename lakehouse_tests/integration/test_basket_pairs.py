"""The heavy table of the example, by real commands: Sail's pairs are those that DuckDB makes of the stored lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lakehouse import tables
from lakehouse.engine.declare.place import Place
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.engine.serve.local_sql import connect
from lakehouse_tests.azurite import Azurite
from lakehouse_tests.without_spark import without_spark
from resources.environment import SHIPPED, load_environment, storages

TABLES = [each.declaration for each in tables_in(tables)]
SOME_WEEKS = ("--from", "2011-11-14", "--to", "2011-11-27")

PAIRS = """
    with bought as (select distinct order_no, sku from silver.order_lines where quantity > 0),
    held as (select sku, count(*) as orders from bought group by sku),
    pairs as (
        select a.sku as sku_a, b.sku as sku_b, count(*) as orders
        from bought a join bought b on a.order_no = b.order_no and a.sku < b.sku
        group by all having count(*) >= 25
    )
    select sku_a, sku_b, pairs.orders, a.orders as orders_a, b.orders as orders_b,
        pairs.orders / total as support,
        pairs.orders / a.orders as confidence_ab,
        pairs.orders / b.orders as confidence_ba,
        pairs.orders * total / (a.orders * b.orders) as lift
    from pairs
    join held a on sku_a = a.sku
    join held b on sku_b = b.sku
    cross join (select count(distinct order_no) as total from bought)
    order by sku_a, sku_b
"""


def lakehouse(*arguments: str, **variables: str) -> str:
    """Run the command as a person would, and give what it printed; it must end with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse.cli", *arguments],
        env={**os.environ, **variables, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def stored_and_asked(days: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[Any, Any]:
    """Land these days and run all; the table as it stands, and the same asked of the lines by DuckDB."""
    lakehouse("land", *days, **variables)
    assert "gold/basket_pairs" in lakehouse("run", **variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    connections = storages(load_environment())
    landing, lake = connections["landing"], connections["lake"]
    connection = connect(TABLES, Place(lake=lake, landing=landing))
    assert lake.folders("staging", "gold", "basket_pairs") == []
    return (
        connection.execute("select * from gold.basket_pairs order by sku_a, sku_b").fetchall(),
        connection.execute(PAIRS).fetchall(),
    )


def test_the_pairs_of_some_weeks_are_those_that_duckdb_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = str(tmp_path / "a home of 10 #s")  # Sail itself loses its way in it
    stored, asked = stored_and_asked(SOME_WEEKS, monkeypatch, LAKEHOUSE_HOME=home)
    assert len(asked) == 537
    assert stored == asked
    assert "Nothing changed" in lakehouse("run", LAKEHOUSE_HOME=home)


@pytest.mark.long
@pytest.mark.azurite
def test_so_are_they_on_azure_storage(azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = in_containers_of_their_own(azurite, tmp_path)
    stored, asked = stored_and_asked(SOME_WEEKS, monkeypatch, **azurite.environment(), **home)
    assert len(asked) == 537
    assert stored == asked


@pytest.mark.long
def test_the_pairs_of_the_year_are_those_that_duckdb_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stored, asked = stored_and_asked((), monkeypatch, LAKEHOUSE_HOME=str(tmp_path))
    assert len(asked) == 238_944
    assert stored == asked


@pytest.mark.long
def test_where_no_spark_is_named_all_else_is_made_and_the_table_is_loudly_left_out(tmp_path: Path):
    plain = without_spark(tmp_path)
    lakehouse("land", "--from", "2010-12-01", "--to", "2010-12-02", **plain)
    why = "gold/basket_pairs is left out here: it runs on Spark, and "
    for command in ("run", "run", "status"):
        said = lakehouse(command, **plain)
        assert f"{why}{tmp_path}/environments/without_spark.yaml names none. Put `spark: {{kind: sail}}` there" in said
    assert "Nothing was written" not in said
    asked = [sys.executable, "-m", "lakehouse.cli", "rebuild", "gold/basket_pairs"]
    refused = subprocess.run(asked, env={**os.environ, **plain}, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "names none. Put `spark: {kind: sail}` there" in refused.stdout


def in_containers_of_their_own(azurite: Azurite, home: Path) -> dict[str, str]:
    """The environment `test`, with containers that no other test knows."""
    (home / "environments").mkdir()
    settings = (SHIPPED / "test.yaml").read_text()
    for container in ("landing", "lake"):
        azurite.create_container(f"pairs-{container}")
        settings = settings.replace(f"container: {container}\n", f"container: pairs-{container}\n")
    (home / "environments/pairs.yaml").write_text(settings)
    return {"LAKEHOUSE_HOME": str(home), "LAKEHOUSE_ENVIRONMENT": "pairs"}
