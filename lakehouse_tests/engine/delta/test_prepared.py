"""A commit that meets a rival: on top of what the rival made, or a conflict."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.write import History
from lakehouse.engine.delta import delivery as delivery_module
from lakehouse.engine.delta import prepared as prepared_module
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta import rivals as rivals_module
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import log_file
from lakehouse.engine.delta.prepared import Prepared, on_top
from lakehouse.engine.delta.slices import Slices
from lakehouse.engine.delta.writes import (
    overwrite,
    prepare_append,
    prepare_merge,
    prepare_overwrite,
    prepare_replace_slices,
    replace_slice,
)
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

SCHEMA = pl.Schema({"part": pl.String(), "id": pl.Int64(), "qty": pl.Int64()})


def rows(*lines: tuple[str, int, int]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema=SCHEMA, orient="row")


STANDING = rows(("a", 1, 1), ("a", 2, 2), ("b", 3, 3), ("b", 4, 4))


@pytest.fixture
def table(address: Address) -> Handle:
    """Two rows a file."""
    handle = Handle.create(address, SCHEMA)
    return handle.commit(write_files(handle, STANDING, rows_per_file=2), [], {}, {})


def content(table: Handle) -> list[tuple[object, ...]]:
    """Of the newest version, as Polars reads it from what lies there."""
    return sorted(pl.read_delta(table.address.uri).rows())


def laid_together(handle: Handle) -> Prepared:
    return Prepared(
        handle, tuple(write_files(handle, handle.scan())), tuple(handle.files()["path"]), 0, rearranges=True
    )


def by_another_engine(table: Handle, *lines: tuple[str, int, int]) -> None:
    write_deltalake(table.address.uri, rows(*lines), mode="append")


RIVALS = {
    "ours": lambda table: append(table, rows(("c", 9, 9)).lazy(), {"rival": 1}, {}),
    "another engine": lambda table: by_another_engine(table, ("c", 9, 9)),
}


@pytest.mark.parametrize("rival", RIVALS)
def test_an_append_goes_on_top_of_what_a_rival_appended(table, rival):
    prepared = prepare_append(table, rows(("d", 10, 10)))
    RIVALS[rival](table)
    written = prepared.commit({"mine": 1}, {})
    assert content(table) == [*STANDING.rows(), ("c", 9, 9), ("d", 10, 10)]
    assert (written.version, written.rows, written.handle.transaction("mine")) == (3, 6, 1)
    assert written.handle.transaction("rival") == (1 if rival == "ours" else None)


@pytest.mark.parametrize("rival", RIVALS)
def test_a_merge_is_not_written_again_where_a_rival_brought_other_keys(table, rival):
    prepared = prepare_merge(table, rows(("a", 1, 10)), ["id"])
    RIVALS[rival](table)
    written = prepared.commit({}, {})
    assert content(table) == [("a", 1, 10), *STANDING.rows()[1:], ("c", 9, 9)]
    assert {file.path for file in prepared.added} <= set(written.handle.files()["path"])


def test_merges_of_other_keys_in_one_file_both_stand(table):
    prepared = prepare_merge(table, rows(("a", 1, 10)), ["id"])
    merge(table, rows(("a", 2, 20)).lazy(), ["id"], {}, {})
    written = prepared.commit({}, {})
    assert content(table) == [("a", 1, 10), ("a", 2, 20), *STANDING.rows()[2:]]
    assert written.rows == 4


@pytest.mark.parametrize(
    "rival",
    [
        lambda table: merge(table, rows(("a", 1, 5)).lazy(), ["id"], {}, {}),
        lambda table: by_another_engine(table, ("a", 1, 5)),
        lambda table: DeltaTable(table.address.uri).delete("id = 1"),
    ],
    ids=["merged", "appended", "deleted"],
)
def test_a_merge_of_a_row_that_a_rival_changed_is_a_conflict(table, rival):
    prepared = prepare_merge(table, rows(("a", 1, 10)), ["id"])
    rival(table)
    stands = content(table)
    with pytest.raises(Conflict):
        prepared.commit({}, {})
    assert content(table) == stands


def test_a_merge_of_a_group_that_a_rival_added_to_is_a_conflict(table):
    prepared = prepare_merge(table, rows(("a", 1, 10)), ["id"], replaces=["part"])
    by_another_engine(table, ("a", 7, 7))
    with pytest.raises(Conflict):
        prepared.commit({}, {})


def test_whatever_was_prepared_goes_on_top_of_files_that_were_laid_together(table):
    """Except laying them together once more."""
    slices = Slices(pl.DataFrame({"part": ["a"]}))
    for prepare, wanted in (
        (lambda handle: prepare_append(handle, rows(("d", 5, 5))), [*STANDING.rows(), ("d", 5, 5)]),
        (lambda handle: prepare_merge(handle, rows(("a", 1, 9)), ["id"]), [("a", 1, 9), *STANDING.rows()[1:]]),
        (lambda handle: prepare_replace_slices(handle, rows(("a", 8, 8)), slices), [("a", 8, 8), *STANDING.rows()[2:]]),
        (lambda handle: prepare_overwrite(handle, rows(("e", 6, 6))), [("e", 6, 6)]),
    ):
        handle = overwrite(opened(table.address), STANDING, {}, {}).handle
        prepared = prepare(handle)
        laid_together(handle).commit({}, {})
        assert prepared.commit({}, {}).rows == len(wanted)
        assert content(table) == wanted


def test_of_two_that_lay_the_same_files_together_one_is_told_so(table):
    first, second = laid_together(table), laid_together(table)
    first.commit({}, {})
    with pytest.raises(Conflict):
        second.commit({}, {})
    assert content(table) == STANDING.rows()


def test_files_are_laid_together_beside_an_append_and_not_over_a_merge(table):
    first, second = laid_together(table), laid_together(table)
    by_another_engine(table, ("c", 9, 9))
    first.commit({}, {})
    merge(opened(table.address), rows(("a", 1, 10)).lazy(), ["id"], {}, {})
    with pytest.raises(Conflict):
        second.commit({}, {})
    assert content(table) == [("a", 1, 10), *STANDING.rows()[1:], ("c", 9, 9)]


def test_a_whole_write_is_all_there_is_also_where_a_rival_appended(table):
    """It is the later one, as the log says it, too."""
    prepared = prepare_overwrite(table, rows(("e", 6, 6)))
    by_another_engine(table, ("c", 9, 9))
    written = prepared.commit({}, {})
    assert content(table) == [("e", 6, 6)]
    assert (written.version, written.rows, written.files_removed) == (3, 1, 3)


def test_a_whole_write_of_rows_that_a_rival_changed_is_a_conflict(table):
    prepared = prepare_overwrite(table, rows(("e", 6, 6)))
    merge(table, rows(("a", 1, 10)).lazy(), ["id"], {}, {})
    with pytest.raises(Conflict):
        prepared.commit({}, {})
    assert content(table) == [("a", 1, 10), *STANDING.rows()[1:]]


def test_a_slice_takes_the_place_of_what_a_rival_brought_into_it_meanwhile(table):
    by_another_engine(table, ("a", 9, 9))
    replace_slice(table, rows(("a", 8, 8)), pl.col("part") == "a", {}, {})
    assert content(table) == [("a", 8, 8), *STANDING.rows()[2:]]


@pytest.mark.parametrize("number", [1, 2])
def test_who_comes_late_with_work_that_a_rival_has_done_meets_a_conflict(table, number):
    """Also where nothing overlaps, and whatever number the rival's transaction has."""
    late = prepare_append(table, rows(("d", 10, 10)))
    append(table, rows(("d", 10, 10)).lazy(), {"batch": number}, {})
    append(opened(table.address), rows(("d", 11, 11)).lazy(), {}, {})
    with pytest.raises(Conflict):
        late.commit({"batch": 1}, {})
    assert content(table) == [*STANDING.rows(), ("d", 10, 10), ("d", 11, 11)]


def test_what_a_rival_made_of_another_shape_is_a_conflict(table):
    late = prepare_append(table, rows(("d", 10, 10)))
    write_deltalake(table.address.uri, rows(("c", 9, 9)).with_columns(more=1), mode="append", schema_mode="merge")
    with pytest.raises(Conflict):
        late.commit({}, {})
    assert len(content(table)) == 5


def assert_made_anew_is_a_conflict(late, table, tmp_path):
    (tmp_path / "lake" / "orders").rename(tmp_path / "gone")
    other = Handle.create(table.address, SCHEMA)
    for _ in range(3):
        other = append(other, rows(("z", 1, 1)).lazy(), {}, {}).handle
    with pytest.raises(Conflict):
        late.commit({}, {})
    assert content(table) == [("z", 1, 1)] * 3


def test_a_table_that_was_made_anew_meanwhile_is_a_conflict(table, tmp_path):
    late = prepare_append(table, rows(("d", 10, 10)))
    assert_made_anew_is_a_conflict(late, table, tmp_path)


def test_a_history_that_was_prepared_again_hangs_on_every_row_still(table, tmp_path):
    """What of it stood was looked at: a row that another engine brings later may be of a thing that it is of."""
    aside, nothing = Address(str(tmp_path / "aside")), quarantine.ROWS.to_frame()
    delivery = Delivery(
        table.address, aside, SCHEMA, "", table, History("qty"), ("id", "qty"), whole=False,
        accepted=rows(("a", 1, 1)), rejected=nothing, transactions={},
    )  # fmt: skip
    prepared = delivery_module._prepare(table, delivery)
    laid_together(table).commit({}, {})
    prepared = on_top(prepared, {}, Conflict("the first"))
    by_another_engine(opened(table.address), ("a", 1, 9))
    with pytest.raises(Conflict, match="the second"):
        on_top(prepared, {}, Conflict("the second"))


def test_so_it_is_where_only_a_checkpoint_told_of_the_version_that_was_read(table, tmp_path):
    table.checkpoint()
    for number in range(table.version + 1):
        Path(log_file(table.address, number)).unlink()
    late = prepare_append(opened(table.address), rows(("d", 10, 10)))
    assert_made_anew_is_a_conflict(late, table, tmp_path)


def test_what_rivals_made_is_known_as_if_it_had_been_opened(table):
    frame = rows(("é", 9, 9)).with_columns(pl.lit(None).cast(pl.Int64).alias("qty"))
    newest = merge(append(table, frame.lazy(), {"p": 3}, {}).handle, rows(("a", 1, 7)).lazy(), ["id"], {"q": 4}, {})
    known = rivals_module.since(table)
    assert known is not None
    assert (known.handle.version, len(known.commits)) == (newest.version, 2)
    again = opened(table.address)
    assert_frame_equal(known.handle.files(), again.files(), check_column_order=False)
    assert (known.handle.transaction("p"), known.handle.transaction("q")) == (3, 4)
    assert known.handle.identity == again.identity
    assert known.handle._opened is table._opened, "nothing was opened"


def test_who_loses_all_the_time_says_so_in_the_end(table, monkeypatch):
    monkeypatch.setattr(prepared_module, "ATTEMPTS", 3)
    once, rival = Prepared.once, iter(range(100))

    def beaten(prepared, *args):
        by_another_engine(table, ("r", next(rival), 0))
        return once(prepared, *args)

    monkeypatch.setattr(Prepared, "once", beaten)
    with pytest.raises(Conflict, match="version 4 first; nothing of ours was committed"):
        prepare_append(table, rows(("d", 10, 10))).commit({}, {})
    assert len(content(table)) == 7
