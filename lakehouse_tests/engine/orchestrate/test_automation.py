"""What automation asks for, tick by tick: an update of an upstream is followed, also one that falls into a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import dagster as dg
import pytest

from lakehouse import Bronze, Files, Frame, JsonLines, Merge, New, Silver, column, table
from lakehouse.engine.declare.write import Append

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

EAGER = dg.AutomationCondition.eager()


class Slips(Bronze):
    """One row per slip."""

    no: str = column("Number")


@table(write=Append(), source=Files("slips/*.jsonl", formats=JsonLines()))
def slips() -> Frame[Slips]: ...


class Filed(Silver):
    """One row per slip."""

    no: str = column("Number", key=True)


def of_a_table(condition: dg.AutomationCondition) -> dg.AutomationCondition:
    """What `@table` makes of it."""

    def filed(sent: New[Slips]) -> Frame[Filed]:
        return sent.select("no")

    filed.__annotations__ = {"sent": New[Slips], "return": Frame[Filed]}
    (spec,) = table(write=Merge(), automation_condition=condition)(filed).specs
    assert spec.automation_condition is not None
    return spec.automation_condition


@dataclass
class Daemon:
    """A graph bronze → orders → gold, followed by `condition`: each tick asks, what is asked for runs."""

    condition: dg.AutomationCondition
    instance: dg.DagsterInstance
    during_orders: list[Callable[[], object]] = field(default_factory=list)
    _cursor: dg.AssetDaemonCursor | None = None  # type: ignore[name-defined] # Dagster does not export it

    @cached_property
    def definitions(self) -> dg.Definitions:
        @dg.asset
        def bronze() -> None: ...

        @dg.asset(deps=[bronze], automation_condition=self.condition)
        def orders() -> None:
            while self.during_orders:
                self.during_orders.pop()()

        @dg.asset(deps=[orders], automation_condition=self.condition)
        def gold() -> None: ...

        return dg.Definitions([bronze, orders, gold])

    def run(self, *names: str) -> None:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        keys = [dg.AssetKey(name) for name in names]
        job.execute_in_process(instance=self.instance, asset_selection=keys, run_config=quiet)

    def tick(self) -> list[str]:
        """The names that one tick asks for."""
        told = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self._cursor)
        self._cursor = told.cursor
        return sorted(each.key.to_user_string() for each in told.results if each.true_subset.size)

    def follow(self) -> list[list[str]]:
        """Tick and run until two ticks ask for nothing; what each asked for."""
        asked: list[list[str]] = []
        while asked[-2:] != [[], []]:
            assert len(asked) < 12, f"it asks for ever: {asked}"
            asked.append(self.tick())
            if asked[-1]:
                self.run(*asked[-1])
        return asked[:-2]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


OTHER = dg.AssetSelection.assets("other")


@pytest.fixture(
    params=[EAGER, EAGER.without(~dg.AutomationCondition.any_deps_missing()), EAGER.ignore(OTHER)],
    ids=["eager", "part of it", "ignoring others"],
)
def daemon(request: pytest.FixtureRequest, instance: dg.DagsterInstance) -> Daemon:
    daemon = Daemon(of_a_table(request.param), instance)
    daemon.run("bronze", "orders", "gold")
    assert daemon.follow() == []
    return daemon


BOTH = ["gold", "orders"]


def test_what_is_downstream_of_an_update_is_asked_for_once(daemon: Daemon):
    daemon.run("bronze")
    assert daemon.follow() == [BOTH]


def test_an_update_that_falls_into_a_run_is_followed_after_it(daemon: Daemon):
    daemon.run("bronze")
    assert daemon.tick() == BOTH
    daemon.during_orders.append(lambda: daemon.run("bronze"))
    daemon.run(*BOTH)
    assert daemon.follow() == [BOTH]


def test_an_update_that_a_tick_saw_during_the_run_is_followed_after_it(daemon: Daemon):
    daemon.run("bronze")
    assert daemon.tick() == BOTH
    daemon.during_orders += [daemon.tick, lambda: daemon.run("bronze"), daemon.tick]
    daemon.run(*BOTH)
    assert daemon.follow() == [BOTH]


def test_tables_written_by_hand_in_the_wrong_order_are_put_right(daemon: Daemon):
    daemon.run("gold")
    daemon.run("orders")
    assert daemon.follow() == [["gold"]]


def test_what_is_run_by_hand_after_its_upstream_is_run_once_more_which_finds_nothing_to_do(daemon: Daemon):
    daemon.run("bronze")
    daemon.run(*BOTH)
    assert daemon.follow() == [BOTH]


def test_a_run_of_everything_by_hand_is_followed_by_nothing(daemon: Daemon):
    daemon.run("bronze", "orders", "gold")
    assert daemon.follow() == []


def test_dagsters_own_eager_forgets_an_update_that_falls_into_a_run(instance: dg.DagsterInstance):
    daemon = Daemon(EAGER, instance)
    daemon.run("bronze", "orders", "gold")
    daemon.follow()
    daemon.run("bronze")
    assert daemon.tick() == BOTH
    daemon.during_orders.append(lambda: daemon.run("bronze"))
    daemon.run(*BOTH)
    assert daemon.follow() == []


def test_any_other_condition_is_left_as_it_is():
    condition = dg.AutomationCondition.on_cron("0 4 * * *")
    assert of_a_table(condition) == condition
