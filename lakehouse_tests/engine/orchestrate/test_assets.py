import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus

from lakehouse import (
    Append,
    Bronze,
    Files,
    Frame,
    Gold,
    JsonLines,
    Merge,
    New,
    Overwrite,
    Quarantine,
    Silver,
    column,
    table,
)
from lakehouse import tables as business
from lakehouse.definitions import lakehouse
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.engine.orchestrate.table import Table
from lakehouse.example.replay import land
from lakehouse.tables.bronze.erp_orders import erp_orders
from lakehouse.tables.bronze.erp_returns import erp_returns
from lakehouse.tables.gold.daily_sales import daily_sales
from lakehouse.tables.silver.order_lines import order_lines
from lakehouse.tables.silver.orders import orders
from resources.delta_io_manager import DeltaIOManager
from resources.environment import SHIPPED
from resources.local_disk import LocalDisk

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")

PROJECT = Path(__file__).parents[3]
SLICE = [erp_orders, erp_returns, order_lines, orders, daily_sales]
ALL = [each.declaration for each in tables_in(business)]


class Slips(Bronze):
    """One row per slip. Source: this test."""

    no: str = column("Number of the slip")
    pieces: int = column("Pieces")


class Counts(Silver):
    """One row per slip. Source: this test."""

    no: str = column("Number of the slip", key=True)
    pieces: int = column("Pieces", ge=0)


class Totals(Gold):
    """One row. Source: this test."""

    name: str = column("What is counted", key=True)
    pieces: int = column("All pieces")


class Pairs(Silver):
    """One row per new slip. Source: this test."""

    no: str = column("Number of the slip", key=True)
    pieces: int = column("Pieces of the slip")
    all_pieces: int = column("Pieces of all slips until then")


class Odd(Silver):
    """One row per slip, by parameters whose names Dagster uses itself. Source: this test."""

    no: str = column("Number of the slip", key=True)
    pieces: int = column("Pieces of the slip")


AT_ONCE = Files("slips/*.jsonl", formats=JsonLines(), settle=timedelta(0))


@table(source=AT_ONCE, write=Append())
def slips() -> Frame[Slips]: ...


def counts_times(factor: int) -> Table:
    """The table `silver/counts`, with a transform that can be edited."""

    @table(write=Merge(), rejects=Quarantine())
    def counts(sent: New[Slips]) -> Frame[Counts]:
        return sent.select("no", pieces=pl.col("pieces") * factor)

    return counts


counts = counts_times(1)


@table(write=Overwrite())
def totals(counted: Frame[Counts]) -> Frame[Totals]:
    return counted.select(name=pl.lit("pieces"), pieces=pl.col("pieces").sum())


@table(write=Merge(), rejects=Quarantine())
def pairs(new: New[Slips], standing: Frame[Slips]) -> Frame[Pairs]:
    together = standing.select(all_pieces=pl.col("pieces").sum())
    return new.select("no", "pieces").join(together, how="cross", maintain_order="left")


@table(write=Merge())
def odd(context: Frame[Slips], config: Frame[Counts]) -> Frame[Odd]:
    return pl.concat([context.select("no", "pieces"), config.select("no", "pieces")])


class Numbered(Silver):
    """One row per slip whose number is one. Source: this test."""

    number: int = column("Number of the slip", key=True)


@table(write=Merge())
def numbered(sent: Frame[Slips]) -> Frame[Numbered]:
    return sent.select(number=pl.col("no").cast(pl.Int64))


@dataclass
class House:
    """A lake and a landing on a disk, and a Dagster instance in memory."""

    home: Path
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    @property
    def landing(self) -> LocalDisk:
        return LocalDisk(path=str(self.home / "landing"))

    def land(self, name: str, *lines: str) -> None:
        file = self.home / "landing/slips" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))

    def definitions(self, tables: list[Table]) -> dg.Definitions:
        lake = LocalDisk(path=str(self.home / "lake"))
        resources = {"lake": lake, "landing": self.landing, "io_manager": DeltaIOManager(lake=lake)}
        return dg.Definitions(tables, resources=resources, executor=dg.in_process_executor)

    def run(self, *tables: Table, config: Mapping[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        job = self.definitions(list(tables)).resolve_implicit_global_asset_job_def()
        silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return job.execute_in_process({**silent, **(config or {})}, instance=self.instance, raise_on_error=False)

    def rows(self, key: str) -> list[tuple[object, ...]]:
        return sorted(pl.read_delta(str(self.home / "lake" / key)).rows())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def spec(of: Table) -> dg.AssetSpec:
    return next(iter(of.specs))


def materializations(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The AssetMaterialization of each table that was written."""
    made = [each for each in result.all_events if each.is_step_materialization]
    found = [each.step_materialization_data.materialization for each in made]
    return {each.asset_key.to_user_string(): each for each in found}


def checks(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    return {
        each.check_name: each for each in result.get_asset_check_evaluations() if each.asset_key.to_user_string() == key
    }


def refusals(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What each failed step said."""
    failed = [each for each in result.all_events if each.is_step_failure]
    told = {each.step_key: each.step_failure_data.user_failure_data for each in failed}
    return {step: said.description or "" for step, said in told.items() if step and said}


def test_what_a_step_gave_holds_no_rows_once_they_are_in_the_lake(house: House):
    house.land("one", '{"no": "A", "pieces": 3}', '{"no": "B", "pieces": -1}')
    ran = house.run(slips, counts)
    given = [ran.output_for_node(node) for node in ("bronze__slips", "silver__counts")]  # Dagster keeps it to the end
    assert [(each.accepted.height, each.rejected.height) for each in given] == [(0, 0), (0, 0)]
    assert house.rows("silver/counts") == [("A", 3)]


# ---- what a table is in Dagster


@pytest.mark.parametrize(
    ("of", "key", "upstreams"),
    [
        (erp_orders, "bronze/erp_orders", []),
        (orders, "silver/orders", ["bronze/erp_orders", "bronze/erp_returns"]),
        (order_lines, "silver/order_lines", ["bronze/erp_orders", "bronze/erp_returns"]),
        (daily_sales, "gold/daily_sales", ["silver/orders"]),
    ],
)
def test_a_table_is_an_asset_with_its_layer_as_group_its_kinds_owners_and_upstreams(
    of: Table, key: str, upstreams: list[str]
):
    layer = key.split("/", maxsplit=1)[0]
    assert spec(of).key == dg.AssetKey(key.split("/"))
    assert spec(of).group_name == layer
    assert spec(of).kinds == {"polars", "deltalake", layer}
    assert list(spec(of).owners) == ["team:sales"]
    assert sorted(each.asset_key.to_user_string() for each in spec(of).deps) == upstreams
    assert spec(of).code_version == str(of.declaration.logic)


def test_the_description_is_the_contracts_docstring_with_its_grain_and_source():
    assert spec(erp_orders).description == (
        "One row per order document, as the ERP sent it.\n\n"
        "Source: ERP, one JSON object per order, landed daily, up to three days late."
    )
    assert spec(erp_orders).metadata["grain"] == "One row per order document, as the ERP sent it."


def columns(of: Table) -> dict[str, dg.TableColumn]:
    return {each.name: each for each in spec(of).metadata["dagster/column_schema"].columns}


def test_the_columns_of_a_silver_table_show_type_words_unit_key_and_null():
    shown = columns(orders)
    assert list(shown) == ["order_no", "customer_id", "country", "ordered_at", "day", "line_count", "net_amount"]
    assert shown["net_amount"].type == "Decimal(38, 3)"
    assert shown["net_amount"].description == "Sum of its lines; negative for credits [GBP]"
    assert shown["net_amount"].tags == {"unit": "GBP"}
    assert shown["ordered_at"].type == "Datetime(us, UTC)"
    assert shown["order_no"].constraints == dg.TableColumnConstraints(nullable=False, other=["key"])
    assert shown["customer_id"].constraints.nullable
    assert shown["customer_id"].tags == {"personal": "true"}


def test_the_columns_of_a_bronze_table_show_the_stored_and_the_promised_type():
    shown = columns(erp_orders)
    assert list(shown)[-6:] == ["extra", "source_name", "source_file", "source_row", "file_sha256", "batch"]
    assert shown["customer_id"].type == "String"
    assert shown["customer_id"].constraints.other == ["reads as Int64"]
    assert shown["order_ts"].constraints.other == [
        "reads as Datetime(us, UTC)",
        "written as wall-clock time of Europe/London as %Y-%m-%dT%H:%M:%S",
    ]
    assert all(each.description for each in shown.values())


def test_the_fields_of_a_nested_column_stand_in_its_words_with_types_and_units():
    said = columns(erp_orders)["lines"].description
    assert said is not None
    assert said.startswith("The order's lines. Each holds line_no (Int64): Position in the order, from 1; ")
    assert "unit_price (Decimal(38, 3)): Price of a piece [GBP]" in said


def test_each_rule_is_a_check_of_its_own_that_blocks_and_says_what_it_is_about():
    specs = {each.name: each for each in orders.check_specs}
    assert set(specs) == {
        "shape",
        "reads_exactly",
        "order_no__not_null",
        "country__not_null",
        "ordered_at__not_null",
        "day__not_null",
        "line_count__not_null",
        "line_count__ge",
        "net_amount__not_null",
        "a_credit_gives_money_back",
        "conserves",
        "corrections_hold_what_they_held",
    }
    assert specs["a_credit_gives_money_back"].description == "A credit note never charges."
    assert {name for name, each in specs.items() if not each.blocking} == {"corrections_hold_what_they_held"}
    assert all(each.description for each in specs.values())


def test_the_checks_of_a_bronze_table_are_about_landing_and_block_nothing():
    assert {each.name: each.blocking for each in erp_orders.check_specs} == {
        "files_are_readable": False,
        "records_are_readable": False,
        "no_planned_file_is_lost": False,
        "counts_add_up": False,
    }


def test_dagsters_own_words_pass_through_under_their_own_names():
    class Worded(Silver):
        """One row per slip. Source: this test."""

        no: str = column("Number of the slip", key=True)

    def worded(sent):
        return sent.select("no")

    worded.__annotations__ = {"sent": New[Slips], "return": Frame[Worded]}
    condition = dg.AutomationCondition.on_cron("0 4 * * *")
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=1))
    retries = dg.RetryPolicy(max_retries=7)
    made = table(
        write=Merge(),
        rejects=Quarantine(),
        automation_condition=condition,
        freshness_policy=policy,
        kinds={"polars"},
        metadata={"runbook": "see the wiki"},
        op_tags={"cpu": "2"},
        owners=["someone@example.com"],
        pool="slow",
        retry_policy=retries,
        tags={"domain": "slips"},
    )(worded)
    assert spec(made).automation_condition == condition
    assert spec(made).freshness_policy == policy
    assert spec(made).kinds == {"polars"}
    assert spec(made).metadata["runbook"] == "see the wiki"
    assert "dagster/column_schema" in spec(made).metadata
    assert made.op.tags["cpu"] == "2"
    assert list(spec(made).owners) == ["someone@example.com"]
    assert made.op.pool == "slow"
    assert made.op.retry_policy == retries
    assert spec(made).tags["domain"] == "slips"


def test_every_table_has_a_pool_of_its_own_of_which_one_run_is_let_in():
    pools = [each.op.pool for each in tables_in(business)]
    assert pools == [each.declaration.key for each in tables_in(business)]
    settings = yaml.safe_load((PROJECT / "resources/dagster.yaml").read_text())
    assert settings["concurrency"]["pools"] == {"granularity": "run", "default_limit": 1}


@pytest.mark.parametrize("where", ["lakehouse.engine.orchestrate.step.refine", "resources.delta_io_manager.deliver"])
@pytest.mark.parametrize("words", [{}, {"retry_policy": dg.RetryPolicy(max_retries=2)}], ids=["ours", "its own"])
def test_what_is_interrupted_is_not_begun_again(
    house: House, monkeypatch: pytest.MonkeyPatch, where: str, words: dict[str, Any]
):
    begun: list[str] = []

    def interrupted(*_: object, **__: object) -> None:
        begun.append(where)
        signal.raise_signal(signal.SIGINT)

    @table(write=Merge(), rejects=Quarantine(), **words)
    def counts(sent: New[Slips]) -> Frame[Counts]:
        return sent.select("no", "pieces")

    house.land("a", '{"no": "1", "pieces": "3"}')
    monkeypatch.setattr(where, interrupted)
    ran = house.run(slips, counts)
    assert not ran.success
    assert begun == [where]


def test_called_directly_a_table_is_its_bare_transform():
    sent = pl.LazyFrame({"no": ["1"], "pieces": [3]})
    assert counts_times(2)(sent).collect().rows() == [("1", 6)]
    assert counts_times(2)(sent=sent).collect().rows() == [("1", 6)]


# ---- what a run of it says


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, dg.ExecuteInProcessResult]:
    """The example's tables after their first two days."""
    home = House(tmp_path_factory.mktemp("two_days"))
    land(home.landing, date(2010, 12, 1), date(2010, 12, 2))
    for file in (home.home / "landing").rglob("*.gz"):
        os.utime(file, (1_291_200_000, 1_291_200_000))  # settled long ago
    return home, home.run(*SLICE)


def test_a_materialization_tells_rows_version_bytes_place_positions_and_a_preview(two_days):
    home, result = two_days
    assert result.success
    told = {name: each.value for name, each in materializations(result)["silver/orders"].metadata.items()}
    stored = pl.read_delta(str(home.home / "lake/silver/orders"))
    assert told["dagster/row_count"] == stored.height == told["rows_written"]
    assert told["delta/version"] == 1
    assert told["delta/bytes"] == sum(
        file.stat().st_size for file in (home.home / "lake/silver/orders").glob("*.parquet")
    )
    assert told["dagster/uri"] == str(home.home / "lake/silver/orders")
    assert told["read bronze/erp_orders"] == "version 1, last read at the beginning"
    assert told["rows_read"] == told["rows_came_out"]
    assert told["rows per day"].startswith("by ordered_at (UTC)\n\n```\n2010-12-01 ██")
    header, _, first, *rest = told["preview"].split("\n")
    assert header == "| order_no | customer_id | country | ordered_at | day | line_count | net_amount |"
    assert first == "| 536365 | ••• | United Kingdom | 2010-12-01 08:26:00+00:00 | 2010-12-01 | 7 | 139.120 |"
    assert len(rest) == 4


def test_every_check_reports_how_many_rows_failed_of_how_many(two_days):
    _, result = two_days
    found = checks(result, "silver/orders")
    assert set(found) == {each.name for each in orders.check_specs}
    assert all(each.passed for each in found.values())
    shown = {name: each.value for name, each in found["a_credit_gives_money_back"].metadata.items()}
    assert shown["failed"] == 0
    assert shown["of"] > 200


def test_an_idle_run_reports_every_check_and_no_materialization(house: House):
    house.land("a", '{"no":"1","pieces":"3"}')
    assert set(materializations(house.run(slips, counts, totals))) == {"bronze/slips", "silver/counts", "gold/totals"}
    idle = house.run(slips, counts, totals)
    assert idle.success
    assert materializations(idle) == {}
    for each in (slips, counts, totals):
        found = checks(idle, each.declaration.key)
        assert set(found) == {check.name for check in each.check_specs}
        assert all(check.passed for check in found.values())
    assert {each.metadata["rows"].value for each in checks(idle, "silver/counts").values()} == {0}


def test_a_preview_cuts_long_values_and_takes_nothing_in_them_for_markup(house: House):
    house.land("a", f'{{"no":"<b>*x*|y</b>{"z" * 100}","pieces":"3"}}')
    told = materializations(house.run(slips, counts))["silver/counts"].metadata["preview"].value
    cell = told.split("\n")[2]
    assert cell.startswith(r"| &lt;b>\*x\*\|y&lt;/b>zzz")
    assert cell.endswith("… | 3 |")
    assert len(cell) < 100


def test_an_idle_table_does_not_keep_what_is_downstream_of_it_from_its_work_in_the_same_run(house: House):
    house.land("a", '{"no":"1","pieces":"3"}')
    assert set(materializations(house.run(slips))) == {"bronze/slips"}
    assert set(materializations(house.run(slips, counts, totals))) == {"silver/counts", "gold/totals"}


# ---- logic


def staleness(house: House, tables: list[Table], key: str) -> StaleStatus:
    graph = house.definitions(tables).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(house.instance, graph, loading_context=_loading(house.instance))
    return resolver.get_status(dg.AssetKey(key.split("/")))


def _loading(instance: dg.DagsterInstance) -> Any:
    from dagster._core.loader import LoadingContextForTest

    return LoadingContextForTest(instance)


def test_an_edited_transform_stays_stale_over_incremental_runs_until_it_is_rebuilt_from_the_run_config(house: House):
    code = "dagster/code_version"
    house.land("a", '{"no":"1","pieces":"3"}')
    first = materializations(house.run(slips, counts_times(1)))["silver/counts"].tags[code]
    edited = counts_times(2)
    assert first != str(edited.declaration.logic)

    house.land("b", '{"no":"2","pieces":"5"}')
    incremental = materializations(house.run(slips, edited))["silver/counts"]
    assert incremental.tags[code] == "mixed"
    assert house.rows("silver/counts") == [("1", 3), ("2", 10)]
    assert staleness(house, [slips, edited], "silver/counts") == StaleStatus.STALE
    assert staleness(house, [slips, counts_times(1)], "silver/counts") == StaleStatus.STALE

    config = {"ops": {"silver__counts": {"config": {"rebuild": True}}}}
    rebuilt = materializations(house.run(slips, edited, config=config))["silver/counts"]
    assert rebuilt.tags[code] == str(edited.declaration.logic)
    assert house.rows("silver/counts") == [("1", 6), ("2", 10)]
    assert staleness(house, [slips, edited], "silver/counts") == StaleStatus.FRESH


# ---- what stops what


def test_a_red_check_of_bronze_leaves_the_run_green_and_downstream_takes_what_was_accepted(house: House):
    house.land("a", '{"no":"1","pieces":"3"}', "no JSON at all")
    result = house.run(slips, counts, totals)
    assert result.success
    red = checks(result, "bronze/slips")["records_are_readable"]
    assert not red.passed
    assert red.severity == dg.AssetCheckSeverity.ERROR
    assert house.rows("gold/totals") == [("pieces", 3)]


def test_rows_that_are_set_aside_make_a_warning_and_the_run_goes_on(house: House):
    house.land("a", '{"no":"1","pieces":"3"}', '{"no":"2","pieces":"-1"}')
    result = house.run(slips, counts, totals)
    assert result.success
    red = checks(result, "silver/counts")["pieces__ge"]
    assert (red.passed, red.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (red.metadata["failed"].value, red.metadata["of"].value) == (1, 2)
    assert house.rows("gold/totals") == [("pieces", 3)]


def test_a_red_error_of_silver_fails_the_run_and_stops_what_is_downstream(house: House):
    house.land("a", '{"no":"1","pieces":"3"}')
    house.run(slips, counts, totals)
    house.land("b", '{"no":"1","pieces":"-1"}')
    result = house.run(slips, counts, totals)
    assert not result.success
    red = checks(result, "silver/counts")["pieces__ge"]
    assert (red.passed, red.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert (
        "silver/counts refused 1 of 1 row: 1 pieces__ge (pieces >= 0; as in no = 1, pieces = -1)."
        in refusals(result)["silver__counts"]
    )
    assert not [each for each in result.all_events if each.step_key == "gold__totals" and each.is_step_start]
    assert house.rows("gold/totals") == [("pieces", 3)]


def test_a_refusal_is_tried_once_and_an_error_that_may_pass_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    house.land("a", '{"no":"1","pieces":"-1"}')
    refused = house.run(slips, counts)
    assert retried(refused) == []

    from resources import delta_io_manager

    carry_out, tries = delta_io_manager.deliver, []

    def flaky(delivery, *how):
        tries.append(delivery)
        if len(tries) == 1:
            raise OSError("the share went away for a moment")
        return carry_out(delivery, *how)

    monkeypatch.setattr(delta_io_manager, "deliver", flaky)
    house.land("b", '{"no":"2","pieces":"1"}')
    assert house.run(slips).success
    assert len(tries) == 2


def retried(result: dg.ExecuteInProcessResult) -> list[str | None]:
    return [each.step_key for each in result.all_events if each.event_type_value == "STEP_UP_FOR_RETRY"]


def test_an_upstream_that_was_made_anew_is_refused_once_with_the_way_out(house: House):
    house.land("a", '{"no":"1","pieces":"3"}')
    house.run(slips, counts)
    for lost in ("bronze", "ledger"):
        shutil.rmtree(house.home / "lake" / lost)
    result = house.run(slips, counts)
    assert "lakehouse rebuild silver/counts" in refusals(result)["silver__counts"]
    assert retried(result) == []


def test_a_transform_that_fails_on_its_rows_fails_once_and_is_named(house: House):
    house.land("a", '{"no":"A1","pieces":"3"}')
    result = house.run(slips, numbered)
    said = refusals(result)["silver__numbered"]
    assert said.startswith("silver/numbered: its transform failed: ")
    assert "A1" in said
    assert retried(result) == []


# ---- signatures that Dagster itself would trip over


def test_two_parameters_may_read_one_upstream_in_two_ways(house: House):
    assert [each.asset_key.to_user_string() for each in spec(pairs).deps] == ["bronze/slips"]
    house.land("a", '{"no":"1","pieces":"3"}')
    house.run(slips, pairs)
    house.land("b", '{"no":"2","pieces":"5"}')
    assert house.run(slips, pairs).success
    assert house.rows("silver/pairs") == [("1", 3, 3), ("2", 5, 8)]


def test_parameters_may_be_called_context_and_config(house: House):
    house.land("a", '{"no":"1","pieces":"3"}')
    assert house.run(slips, counts, odd).success
    assert house.rows("silver/odd") == [("1", 3)]


# ---- loading


@pytest.mark.parametrize("environment", sorted(each.stem for each in SHIPPED.glob("*.yaml")))
def test_the_definitions_load_offline_with_an_empty_environment_in_every_environment(environment: str, tmp_path: Path):
    offline = """
import socket
def refuse(*_, **__): raise AssertionError("the definitions asked the network")
socket.socket.connect = socket.getaddrinfo = refuse
import dagster as dg
from lakehouse.definitions import lakehouse
definitions = lakehouse()
dg.Definitions.validate_loadable(definitions)
print(len(list(definitions.assets)))
"""
    variables = {"LAKEHOUSE_ENVIRONMENT": environment, "PYTHONPATH": str(PROJECT)}
    told = subprocess.run(
        [sys.executable, "-c", offline], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (told.stdout.strip(), told.returncode) == (str(len(ALL)), 0), told.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_code_location_holds_the_tables_their_sensor_the_automation_the_job_and_the_schedule():
    repository = lakehouse().get_repository_def()
    assert {each.to_user_string() for each in repository.asset_graph.get_all_asset_keys()} == {each.key for each in ALL}
    assert {each.name: each.default_status.value for each in repository.sensor_defs} == {
        **{f"{each.name}_arrivals": "RUNNING" for each in ALL if each.is_bronze},
        "automation": "RUNNING",
    }
    assert {each.name for each in repository.schedule_defs} == {
        "nightly",
        "upkeep_bronze",
        "upkeep_silver",
        "upkeep_gold",
        "check_bronze",
        "check_silver",
        "check_gold",
    }
    assert repository.has_job("everything")
    assert repository.has_job("restore")


def test_dg_check_defs_names_table_column_and_the_nearest_name_after_a_rename_in_a_bronze_contract(tmp_path: Path):
    copied = scratch_copy(tmp_path)
    bronze = copied / "lakehouse/tables/bronze/erp_orders.py"
    bronze.write_text(bronze.read_text().replace("customer_id: int", "customer_ids: int"))
    checked = dg_in(copied, "check", "defs")
    said = " ".join((checked.stdout + checked.stderr).split())
    assert checked.returncode != 0
    assert "silver/orders" in said
    assert "column 'customer_id' is not there; did you mean 'customer_ids'?" in said


def scratch_copy(folder: Path) -> Path:
    """The project's code alone, to be changed."""
    copied = folder / "project"
    for room in ("lakehouse", "resources"):
        shutil.copytree(PROJECT / room, copied / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", copied)
    return copied


def dg_in(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(project), "COLUMNS": "2000", "HOME": str(project)}
    program = str(Path(sys.executable).with_name("dg"))
    return subprocess.run(
        [program, *words], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_gold_amount_is_the_sum_of_its_orders(two_days):
    home, _ = two_days
    sold = pl.read_delta(str(home.home / "lake/gold/daily_sales"))
    ordered = pl.read_delta(str(home.home / "lake/silver/orders"))
    assert sold["net_amount"].sum() == ordered["net_amount"].sum() > Decimal(0)
