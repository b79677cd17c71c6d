from collections.abc import Callable
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.errors import Conflict, Refused, Transient
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.quarantine import ROWS
from lakehouse_tests.engine.delta.opening import opened

SCHEMA = pl.Schema({"id": pl.Int64()})


def set_aside(*names: str) -> pl.DataFrame:
    """One row per name; the other columns are the same for all."""
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    lines = [("erp", "orders", "a.jsonl", 1, 1, "broke", ["qty is below 0"], name, moment) for name in names]
    return pl.DataFrame(lines, schema=ROWS, orient="row")


def names(table: Handle, aside: Address) -> list[str]:
    standing = quarantine.read(table, aside).collect()
    assert standing.height == quarantine.count(table, aside)
    return standing["row"].to_list()


def stored(aside: Address) -> list[str]:
    handle = Handle.open(aside)
    return [] if handle is None else sorted(handle.scan().collect()["row"])


def attempt(table: Handle, aside: Address, *rows: str, whole: bool = False) -> Callable[[], Handle]:
    """Write the quarantine; what is returned is the table's own commit."""
    made = quarantine.write(table, aside, set_aside(*rows), whole=whole)
    return lambda: table.commit([], [], made.transactions, {})


def test_rows_count_once_the_table_has_their_version(address, aside):
    table = Handle.create(address, SCHEMA)
    commit = attempt(table, aside, "a", "b")
    assert names(table, aside) == []
    assert names(opened(address), aside) == []
    assert names(commit(), aside) == ["a", "b"]


def test_they_come_back_as_they_were_given_with_version_and_attempt(address, aside):
    table = attempt(Handle.create(address, SCHEMA), aside, "a", "b")()
    read = quarantine.read(table, aside).collect()
    assert read.select(*ROWS).equals(set_aside("a", "b"))
    assert read.schema == quarantine.STORED
    assert read["version"].to_list() == [1, 1]
    assert read["attempt"].n_unique() == 1


def test_nothing_set_aside_makes_no_quarantine(address, aside):
    table = attempt(Handle.create(address, SCHEMA), aside)()
    assert Handle.open(aside) is None
    assert names(table, aside) == []


def test_nothing_set_aside_makes_no_version_of_a_quarantine_that_stands(address, aside):
    table = attempt(Handle.create(address, SCHEMA), aside, "a")()
    before = opened(aside).version
    table = attempt(table, aside)()
    assert opened(aside).version == before
    assert names(table, aside) == ["a"]


def test_a_write_without_rejected_rows_takes_the_losers_away_too(address, aside):
    table = Handle.create(address, SCHEMA)
    attempt(table, aside, "lost")
    table = attempt(table, aside, "a")()
    attempt(table, aside)()
    assert stored(aside) == ["a"]


def test_rows_of_another_shape_are_refused(address, aside):
    table = Handle.create(address, SCHEMA)
    with pytest.raises(Refused, match="missing in the frame"):
        quarantine.write(table, aside, set_aside("a").drop("kind"), whole=False)


def test_of_two_rivals_only_the_winner_counts_and_the_loser_is_taken_away(address, aside):
    table = Handle.create(address, SCHEMA)
    mine, theirs = attempt(table, aside, "mine"), attempt(table, aside, "theirs")
    won = theirs()
    with pytest.raises(Conflict):
        mine()
    assert stored(aside) == ["mine", "theirs"]
    assert names(won, aside) == ["theirs"]
    quarantine.settle(won, aside)
    assert stored(aside) == ["theirs"]
    assert names(won, aside) == ["theirs"]


def test_a_loser_is_not_taken_away_before_its_version_is_decided(address, aside):
    table = Handle.create(address, SCHEMA)
    first = attempt(table, aside, "first")
    quarantine.settle(table, aside)
    attempt(table, aside, "second")
    quarantine.settle(table, aside)
    assert stored(aside) == ["first", "second"]
    assert names(first(), aside) == ["first"]


def test_a_winner_without_rejected_rows_beats_a_crashed_attempt_with_some(address, aside):
    table = Handle.create(address, SCHEMA)
    attempt(table, aside, "crashed")
    won = attempt(table, aside)()
    assert names(won, aside) == []
    quarantine.settle(won, aside)
    assert stored(aside) == []


def test_a_crash_before_the_tables_commit_leaves_nothing_after_the_next_run(address, aside):
    table = attempt(Handle.create(address, SCHEMA), aside, "a")()
    attempt(table, aside, "b")
    again = attempt(opened(address), aside, "b")()
    assert names(again, aside) == ["a", "b"]
    quarantine.settle(again, aside)
    assert stored(aside) == ["a", "b"]


def test_a_writer_that_comes_late_meets_a_conflict_and_leaves_nothing_that_counts(address, aside):
    stale = Handle.create(address, SCHEMA)
    table = attempt(stale, aside, "a")()
    table = attempt(table, aside, "b")()
    with pytest.raises(Conflict, match="gone on"):
        quarantine.write(stale, aside, set_aside("late"), whole=False)
    quarantine.settle(stale, aside)
    assert names(table, aside) == ["a", "b"]


def test_a_write_that_carries_no_attempt_decides_its_version_as_well(address, aside):
    table = Handle.create(address, SCHEMA)
    attempt(table, aside, "crashed")
    won = table.commit([], [], {"other": 1}, {})
    assert names(won, aside) == []
    assert names(attempt(won, aside, "b")(), aside) == ["b"]
    assert stored(aside) == ["b"]


def test_a_whole_write_replaces_what_was_set_aside_once_it_wins(address, aside):
    table = attempt(Handle.create(address, SCHEMA), aside, "a")()
    commit = attempt(table, aside, "new", whole=True)
    assert names(table, aside) == ["a"]
    won = commit()
    assert names(won, aside) == ["new"]
    quarantine.settle(won, aside)
    assert stored(aside) == ["new"]


def test_a_whole_write_without_rejected_rows_empties_the_quarantine(address, aside):
    table = attempt(Handle.create(address, SCHEMA), aside, "a")()
    won = attempt(table, aside, whole=True)()
    assert names(won, aside) == []
    quarantine.settle(won, aside)
    assert stored(aside) == []


def test_a_whole_write_that_loses_replaces_nothing(address, aside):
    table = attempt(Handle.create(address, SCHEMA), aside, "a")()
    whole, plain = attempt(table, aside, "new", whole=True), attempt(table, aside, "b")
    won = plain()
    with pytest.raises(Conflict):
        whole()
    assert names(won, aside) == ["a", "b"]
    quarantine.settle(won, aside)
    assert stored(aside) == ["a", "b"]


def test_a_table_that_was_made_anew_has_nothing_set_aside(tmp_path, aside):
    old = Handle.create(Address(str(tmp_path / "old")), SCHEMA)
    for name in "abc":
        old = attempt(old, aside, name)()
    new = Handle.create(Address(str(tmp_path / "new")), SCHEMA)
    assert names(new, aside) == []
    assert names(attempt(new, aside, "d")(), aside) == ["d"]
    assert stored(aside) == ["d"]


def test_no_value_of_a_row_stands_in_the_log(address, aside):
    attempt(Handle.create(address, SCHEMA), aside, "Ada Lovelace")()
    measured = opened(aside).files().row(0, named=True)
    assert "Ada Lovelace" not in str(measured)
    assert measured["min.version"] == measured["max.version"] == 1


def test_the_losers_conflict_is_transient_so_that_a_retry_may_win(address, aside):
    table = Handle.create(address, SCHEMA)
    mine, theirs = attempt(table, aside, "x"), attempt(table, aside, "x")
    theirs()
    with pytest.raises(Transient):
        mine()
    assert names(attempt(opened(address), aside, "y")(), aside) == ["x", "y"]


# Three writers: each opens the table, sets rows aside, commits; any of them may stop for ever at any point.
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["open", "aside", "aside", "nothing", "whole", "commit", "settle"])),
    max_size=16,
)


@settings(max_examples=20, deadline=None)
@given(STEPS)
def test_whatever_writers_do_and_wherever_they_stop_the_winners_rows_stand_and_no_others(steps):
    with TemporaryDirectory() as folder:
        simulate(Address(f"{folder}/t"), Address(f"{folder}/q"), steps)


def simulate(address: Address, aside: Address, steps: list[tuple[int, str]]) -> None:
    tables = dict.fromkeys(range(3), Handle.create(address, SCHEMA))
    pending: dict[int, tuple[Handle, quarantine.Attempt, list[str], bool]] = {}
    standing: list[str] = []
    for number, (writer, step) in enumerate(steps):
        if step == "open":
            tables[writer] = opened(address)
        elif step == "settle":
            quarantine.settle(tables[writer], aside)
        elif step == "commit" and writer in pending:
            table, made, rows, whole = pending.pop(writer)
            try:
                tables[writer] = table.commit([], [], made.transactions, {})
            except Conflict:
                continue
            standing = rows if whole else [*standing, *rows]
        elif step != "commit":
            rows = [] if step == "nothing" else [f"{writer}-{number}"]
            try:
                made = quarantine.write(tables[writer], aside, set_aside(*rows), whole=step == "whole")
            except Conflict:
                continue
            pending[writer] = (tables[writer], made, rows, step == "whole")
        assert sorted(names(opened(address), aside)) == sorted(standing)
    newest = opened(address).commit([], [], {}, {})  # decides what was still open
    quarantine.settle(newest, aside)
    assert sorted(names(newest, aside)) == stored(aside) == sorted(standing)
