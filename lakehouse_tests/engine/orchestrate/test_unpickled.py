"""Nothing that Dagster is told to run may be kept as a pickle: a tampered one runs code where it is read."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.branching.branching_io_manager import BranchingIOManager
from dagster._core.storage.fs_io_manager import PickledObjectFilesystemIOManager

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.orchestrate.unpickled import unpickled
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

DELTA = DeltaIOManager(lake=LocalDisk(path="/nowhere"))
FRAME = pl.DataFrame({"n": [1]})


def _dumped(obj: object) -> bytes:
    return pickle.dumps(obj)


class ByItsModule(dg.ConfigurableIOManager):
    folder: str = "/nowhere"

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        Path("x").write_bytes(_dumped(obj))

    def load_input(self, context: dg.InputContext) -> None: ...


class Inherited(ByItsModule):
    pass


class WhenItReads(dg.ConfigurableIOManager):
    folder: str = "/nowhere"

    def handle_output(self, context: dg.OutputContext, obj: object) -> None: ...

    def load_input(self, context: dg.InputContext) -> object:
        def read() -> object:
            from cloudpickle import loads  # type: ignore[import-not-found] # it need not be there

            return loads(b"")

        return read()


@dg.io_manager
def made(_: object) -> dg.IOManager:
    return PickledObjectFilesystemIOManager("/nowhere")


@dg.io_manager
def made_by_a_dot(_: object) -> Any:
    return dg.FilesystemIOManager(base_dir="/nowhere")


@dg.input_manager
def reading(_: object) -> object:
    return pickle.loads(b"")  # never called


class Json(dg.ConfigurableIOManager):
    """Plain text, and words that only sound like it."""

    marshal: str = "pickle"

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        Path(self.marshal).write_text(json.dumps(obj))

    def load_input(self, context: dg.InputContext) -> object:
        return self.pickle()

    def pickle(self) -> object:
        return json.loads("1")


PICKLING: dict[str, Any] = {
    "Dagster's": dg.fs_io_manager,
    "Dagster's, configured": dg.fs_io_manager.configured({"base_dir": "/nowhere"}),
    "Dagster's by class": dg.FilesystemIOManager(base_dir="/nowhere"),
    "Dagster's, configured at launch": dg.FilesystemIOManager.configure_at_launch(),
    "Dagster's as an instance": PickledObjectFilesystemIOManager("/nowhere"),
    "made by a function": made,
    "made by a function of a module's": made_by_a_dot,
    "within another": BranchingIOManager(parent_io_manager=DELTA, branch_io_manager=dg.FilesystemIOManager()),
    "somebody's own": ByItsModule(),
    "somebody's own, inherited": Inherited(),
    "somebody's own that imports late": WhenItReads(),
}


def given(resources: dict[str, Any] | None = None, **words: Any) -> dg.Definitions:
    return unpickled(lambda: dg.Definitions(resources={"io_manager": DELTA, **(resources or {})}, **words))()


@dg.asset
def sales() -> pl.DataFrame:
    return FRAME


@dg.asset(io_manager_key="other")
def odd() -> pl.DataFrame:
    return FRAME


@dg.op(out=dg.Out(io_manager_key="other"))
def begun() -> int:
    return 1


@dg.op
def done(n: int) -> pl.DataFrame:
    return FRAME


@dg.graph_asset
def odd_inside() -> pl.DataFrame:
    return done(begun())


@dg.multi_asset(outs={"even": dg.AssetOut(), "odd_out": dg.AssetOut(io_manager_key="other")})
def several() -> tuple[pl.DataFrame, pl.DataFrame]:
    return FRAME, FRAME


@dg.asset(ins={"sales": dg.AssetIn(input_manager_key="other")})
def odd_reader(sales: pl.DataFrame) -> pl.DataFrame:
    return sales


@dg.asset_check(asset=sales, additional_ins={"elsewhere": dg.AssetIn("elsewhere", input_manager_key="other")})
def odd_check(sales: pl.DataFrame, elsewhere: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


elsewhere = dg.AssetSpec("elsewhere").with_io_manager_key("other")


@pytest.mark.parametrize("how", PICKLING)
def test_an_io_manager_that_pickles_is_refused_whoever_wrote_it(how: str):
    with pytest.raises(Terminal, match=r"^odd would be kept by \S+ \(resource 'other'\), which pickles: .* Leave out"):
        given({"other": PICKLING[how]}, assets=[sales, odd])


@pytest.mark.parametrize("plain", [Json(), dg.mem_io_manager, DELTA], ids=["Json", "in memory", "ours"])
def test_an_io_manager_that_does_not_pickle_is_taken(plain: Any):
    assert given({"other": plain}, assets=[sales, odd, odd_inside, several, odd_reader, elsewhere])


@pytest.mark.parametrize(
    ("asset", "name"),
    [(odd_inside, "odd_inside"), (several, "even, odd_out"), (odd_reader, "odd_reader"), (elsewhere, "elsewhere")],
    ids=["a graph's op", "one output of several", "an input", "read from elsewhere"],
)
def test_an_asset_that_would_get_it_is_named_in_whatever_way_it_would(asset: Any, name: str):
    with pytest.raises(Terminal, match=f"^{name} would be kept by FilesystemIOManager"):
        given({"other": PICKLING["Dagster's by class"]}, assets=[sales, asset])


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
@pytest.mark.parametrize("words", [{"io_manager_def": made}, {"resource_defs": {"io_manager": made}}], ids=list)
def test_an_asset_that_brings_its_own_is_refused(words: dict[str, Any]):
    @dg.asset(**words)
    def own() -> pl.DataFrame:
        return FRAME

    with pytest.raises(Terminal, match=r"^own would be kept by"):
        given(assets=[own])


def test_what_reads_with_one_is_refused():
    with pytest.raises(Terminal, match=r"^odd_reader would be kept by"):
        given({"other": reading}, assets=[sales, odd_reader])
    with pytest.raises(Terminal, match=r"^the check odd_check of sales would be kept by"):
        given({"other": dg.fs_io_manager}, assets=[sales], asset_checks=[odd_check])


def test_dagsters_default_is_refused_where_no_io_manager_is_given():
    with pytest.raises(Terminal, match=r"^sales would be kept by default_job_io_manager.*'io_manager'"):
        unpickled(lambda: dg.Definitions(assets=[sales]))()


def jobs_that_pickle() -> dict[str, Callable[[], dg.Definitions]]:
    @dg.op
    def one() -> int:
        return 1

    @dg.job(resource_defs={"io_manager": dg.fs_io_manager})
    def ops():
        one()

    @dg.job
    def by_default():
        one()

    @dg.sensor(job=ops)
    def woken() -> None: ...

    nightly = dg.ScheduleDefinition(job=ops, cron_schedule="0 4 * * *")
    return {
        "a job's own": lambda: given(jobs=[ops]),
        "of a sensor": lambda: given(sensors=[woken]),
        "of a schedule": lambda: given(schedules=[nightly]),
        "by default": unpickled(lambda: dg.Definitions(jobs=[by_default])),
    }


@pytest.mark.parametrize("how", jobs_that_pickle())
def test_a_job_of_ops_is_refused_as_well(how: str):
    with pytest.raises(Terminal, match=r"^What the ops of job (ops|by_default) give would be kept by .*"):
        jobs_that_pickle()[how]()


def test_a_job_of_ops_gets_the_io_manager_of_the_house():
    @dg.job
    def plain():
        done(begun())

    assert given({"other": dg.mem_io_manager}, jobs=[plain])
