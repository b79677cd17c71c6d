"""Facts of Dagster that the IO manager leans on. An upgrade that moves one says here which."""

import os
from collections.abc import Callable, Iterator
from typing import Any, Optional

import dagster as dg
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-05-01", end_date="2024-05-04")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SPAN = {"dagster/asset_partition_range_start": "2024-05-01", "dagster/asset_partition_range_end": "2024-05-02"}


class Probe(dg.IOManager):
    """Asks the contexts what the test wants to know."""

    def __init__(
        self, of_output: Callable[[dg.OutputContext], Any], of_input: Callable[[dg.InputContext], Any]
    ) -> None:
        self.of_output, self.of_input = of_output, of_input
        self.answers: list[Any] = []

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        self.answers.append(self.of_output(context))

    def load_input(self, context: dg.InputContext) -> Any:
        self.answers.append(self.of_input(context))
        return {}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def nothing(context: object) -> None: ...


def ask(
    instance: dg.DagsterInstance,
    assets: list[Any],
    of_output: Callable[[dg.OutputContext], Any] = nothing,
    of_input: Callable[[dg.InputContext], Any] = nothing,
    **asked: Any,
) -> tuple[list[Any], dg.ExecuteInProcessResult]:
    probe = Probe(of_output, of_input)
    result = dg.materialize(
        assets, instance=instance, resources={"io_manager": probe}, raise_on_error=False, run_config=QUIET, **asked
    )
    return probe.answers, result


@pytest.fixture
def sales() -> dg.AssetsDefinition:
    @dg.asset(partitions_def=DAYS, metadata={"partition_by": "day"}, backfill_policy=dg.BackfillPolicy.single_run())
    def sales() -> int:
        return 1

    return sales


def test_a_run_of_a_partitioned_asset_without_a_key_looks_like_one_of_an_asset_without_partitions(instance, sales):
    answers, result = ask(
        instance, [sales], lambda context: (context.has_asset_partitions, context.asset_spec.partitions_def)
    )
    assert result.success
    assert answers == [(False, DAYS)]


def test_a_range_run_has_its_keys_and_no_partition_key(instance, sales):
    def told(context: dg.OutputContext) -> Any:
        return list(context.asset_partition_keys), context.has_partition_key

    answers, _ = ask(instance, [sales], told, tags=SPAN)
    assert answers == [(["2024-05-01", "2024-05-02"], False)]


def test_metadata_by_partition_that_the_io_manager_adds_reaches_each_materialization(instance, sales):
    def add(context: dg.OutputContext) -> None:
        for key in context.asset_partition_keys:
            context.step_context.add_asset_metadata(
                {"rows": int(key[-1])}, asset_key=context.asset_key, partition_key=key
            )

    _, result = ask(instance, [sales], add, tags=SPAN)
    events = result.get_asset_materialization_events()
    assert {each.partition: each.materialization.metadata["rows"].value for each in events} == {
        "2024-05-01": 1,
        "2024-05-02": 2,
    }


def test_input_metadata_can_be_added_for_one_partition_only(instance, sales):
    @dg.asset
    def reader(sales: dict) -> None: ...

    _, result = ask(instance, [sales, reader], of_input=lambda context: context.add_input_metadata({"version": 1}))
    assert not result.success
    assert "number of input partitions != 1" in str(
        [each.step_failure_data.error for each in result.all_events if each.is_step_failure]
    )


def test_a_reader_sees_the_metadata_of_an_upstream_that_another_run_or_location_wrote(instance, sales):
    elsewhere = dg.AssetSpec("elsewhere", metadata={"partition_by": "k"}, partitions_def=DAYS)

    @dg.asset
    def reader(sales: dict, elsewhere: dict) -> None: ...

    def told(context: dg.InputContext) -> Any:
        assert context.upstream_output is not None
        return context.upstream_output.definition_metadata["partition_by"]

    answers, _ = ask(instance, [sales, reader, elsewhere], of_input=told, selection=[reader])
    assert sorted(answers) == ["day", "k"]


def test_the_annotation_of_an_input_reaches_the_io_manager(instance):
    @dg.asset
    def reader(a: dict[str, int], b: Optional[dict], c, d: dict | None) -> None: ...  # noqa: UP045 # as many write it

    upstreams = [dg.AssetSpec(name) for name in "abcd"]
    answers, result = ask(
        instance, [*upstreams, reader], of_input=lambda context: (context.name, context.dagster_type.typing_type)
    )
    told = dict(answers)
    assert result.success
    assert told["a"] == dict[str, int] or str(told["a"]) == "typing.Dict[str, int]"
    assert (told["b"], told["c"], told["d"]) == (Optional[dict], Any, Optional[dict])  # noqa: UP045


def test_a_key_of_two_dimensions_arrives_as_one_also_in_a_range(instance):
    both = dg.MultiPartitionsDefinition({"day": DAYS, "shop": dg.StaticPartitionsDefinition(["a", "b"])})

    @dg.asset(partitions_def=both, backfill_policy=dg.BackfillPolicy.single_run())
    def pairs() -> int:
        return 1

    def told(context: dg.OutputContext) -> Any:
        keys: Any = context.asset_partition_keys
        return {tuple(key.keys_by_dimension.items()) for key in keys}

    span = {
        "dagster/asset_partition_range_start": "2024-05-01|a",
        "dagster/asset_partition_range_end": "2024-05-02|b",
    }
    answers, _ = ask(instance, [pairs], told, tags=span)
    assert answers == [{(("day", f"2024-05-0{day}"), ("shop", shop)) for day in (1, 2) for shop in "ab"}]


def test_no_more_and_no_less_than_two_dimensions_can_be_declared():
    letters = dg.StaticPartitionsDefinition(["a"])
    with pytest.raises(dg.DagsterInvalidInvocationError):
        dg.MultiPartitionsDefinition({"a": letters, "b": letters, "c": letters})


@pytest.mark.parametrize("key", ["it's", '"', "a/b", " ", "größe", "%", ""])
def test_a_partition_key_may_hold_nearly_any_sign(key):
    assert dg.StaticPartitionsDefinition([key]).get_partition_keys() == [key]


def test_the_hour_that_is_there_twice_has_two_keys_and_two_windows():
    hours = dg.HourlyPartitionsDefinition("2024-10-27-00:00", timezone="Europe/London", end_date="2024-10-27-03:00")
    twice = [key for key in hours.get_partition_keys() if key.startswith("2024-10-27-01")]
    assert twice == ["2024-10-27-01:00", "2024-10-27-01:00+0000"]
    starts = [hours.time_window_for_partition_key(key).start.timestamp() for key in twice]
    assert starts[1] - starts[0] == 3600


@pytest.mark.parametrize(("error", "tries"), [(dg.Failure("no", allow_retries=False), 1), (OSError("busy"), 3)])
@pytest.mark.parametrize("side", ["of_output", "of_input"])
def test_a_failure_without_retries_is_not_repeated_and_any_other_error_is(instance, side, error, tries):
    policy = dg.RetryPolicy(max_retries=2)

    @dg.asset(retry_policy=policy)
    def written(there: dict) -> int:
        return 1

    def raising(context: object) -> None:
        raise error

    _, result = ask(instance, [dg.AssetSpec("there"), written], **{side: raising})
    assert not result.success
    assert 1 + sum(each.is_step_restarted for each in result.all_events) == tries


def test_dagsters_own_launcher_cannot_tell_whether_the_process_of_a_run_lives():
    assert not dg.DefaultRunLauncher().supports_check_run_worker_health


def test_a_run_says_with_its_start_which_process_it_is_of(instance: dg.DagsterInstance):
    @dg.job
    def nothing_to_do(): ...

    run = nothing_to_do.execute_in_process(instance=instance, run_config=QUIET).run_id
    (began,) = instance.get_records_for_run(run, of_type=dg.DagsterEventType.RUN_START).records
    assert began.event_log_entry.dagster_event
    assert began.event_log_entry.dagster_event.pid == os.getpid()
