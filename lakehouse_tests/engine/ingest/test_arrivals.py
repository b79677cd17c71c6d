"""Every end that a landed file can come to: the rows, the ledger, the quarantine and the findings of each."""

import gzip
import os
import shlex
import shutil
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, column
from lakehouse.engine.declare.errors import Conflict, FileGone, Refused
from lakehouse.engine.declare.formats import JsonLines, Limits
from lakehouse.engine.declare.frames import Frame
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append
from lakehouse.engine.delta import ahead
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest import landing, reader
from lakehouse.engine.ingest.ledger import Entry, Ledger
from lakehouse.engine.ingest.parsed import Parsed
from lakehouse_tests.driver import House, files_per_batch, finding, red
from lakehouse_tests.opened import tell
from resources.local_disk import LocalDisk


class Notes(Bronze):
    """One row per note, as it was sent."""

    id: int = column("Number of the note")
    text: str = column("What it says", nullable=True)


def notes_landed() -> Frame[Notes]: ...


NOTES = declare(notes_landed, write=Append(), source=Files("notes/*", formats=JsonLines(), settle=timedelta(seconds=2)))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def note(*ids: int, text: str = "x") -> str:
    return "".join(f'{{"id":{each},"text":"{text}"}}\n' for each in ids)


def ids(house: House, declared: Declaration = NOTES) -> list[str]:
    return house.rows(declared)["id"].to_list()


def states(house: House) -> list[tuple[int, str, str]]:
    return house.ledger(NOTES).select("batch", "name", "state").rows()


def gone(house: House, name: str) -> None:
    house.file(name).unlink()


@pytest.fixture(autouse=True, params=["written at the end", "written ahead"])
def when_written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small landings all rows are written at the end; here each file's also while the next are read."""
    if request.param == "written ahead":
        monkeypatch.setattr(reader, "BYTES_AT_ONCE", 1)
        monkeypatch.setattr(ahead, "BYTES_AHEAD", 1)


@pytest.fixture(autouse=True)
def every_record_is_counted(house: House):
    """Whatever a test does to the landing: what is stored adds up at its end."""
    yield
    if house.open(NOTES) is not None:
        house.assert_counts_add_up(NOTES)


def test_the_ledger_counts_each_file_by_itself_though_they_are_parsed_together(house: House):
    house.land("notes/a", note(1) + "{\n" + note(2, 3))
    house.land("notes/b", note(4) + "{\n{\n")
    house.land("notes/c", "")
    house.land("notes/d", note(5, 6))
    house.run(NOTES)
    counts = house.ledger(NOTES).select("name", "records", "accepted", "quarantined").rows()
    assert counts == [("notes/a", 4, 3, 1), ("notes/b", 3, 1, 2), ("notes/c", 0, 0, 0), ("notes/d", 2, 2, 0)]


def test_a_new_file_is_taken_once_and_its_rows_say_where_they_are_from(house: House):
    house.land("notes/a", note(1, 2))
    first, second = house.drain(NOTES)[NOTES.key]
    assert red(first) == red(second) == {}
    assert (first.facts["files"], second.facts["files"]) == (1, 0)
    rows = house.rows(NOTES)
    assert rows.select("id", "source_file", "source_row", "batch", "source_name").rows() == [
        ("1", "notes/a", 1, 1, "notes_landed"),
        ("2", "notes/a", 2, 1, "notes_landed"),
    ]
    assert rows["file_sha256"].unique().to_list() == house.ledger(NOTES)["sha256"].to_list()
    assert house.ledger(NOTES).select("records", "accepted", "quarantined", "reason").rows() == [(2, 2, 0, "")]


def test_nothing_landed_is_no_work_and_every_check_passes(house: House):
    work = house.run(NOTES)
    assert work.delivery is None
    assert red(work) == {}
    assert house.open(NOTES) is None


def test_a_late_file_is_taken_in_its_own_batch_whatever_its_name_says(house: House):
    house.land("notes/2024-05-02", note(2))
    house.drain(NOTES)
    house.land("notes/2024-05-01", note(1))
    house.drain(NOTES)
    assert states(house) == [(1, "notes/2024-05-02", "accepted"), (2, "notes/2024-05-01", "accepted")]
    assert ids(house) == ["2", "1"]


def test_the_same_bytes_under_another_name_are_a_recorded_duplicate(house: House):
    house.land("notes/a", note(1))
    house.drain(NOTES)
    house.land("notes/b", note(1))
    work = house.drain(NOTES)[NOTES.key][0]
    assert red(work) == {}
    assert work.facts["files_duplicate"] == 1
    assert ids(house) == ["1"]
    assert house.ledger(NOTES).select("name", "state", "records", "reason").rows()[1] == (
        "notes/b",
        "duplicate",
        0,
        "same content as notes/a (batch 1)",
    )


def test_the_same_bytes_twice_in_one_batch_are_taken_once(house: House):
    house.land("notes/a", note(1))
    house.land("notes/b", note(1))
    house.drain(NOTES)
    assert states(house) == [(1, "notes/a", "accepted"), (1, "notes/b", "duplicate")]
    assert ids(house) == ["1"]


def test_a_renamed_file_is_a_duplicate_and_its_rows_stay(house: House):
    house.land("notes/a", note(1))
    house.drain(NOTES)
    house.file("notes/a").rename(house.file("notes/b"))
    house.drain(NOTES)
    assert states(house)[1:] == [(2, "notes/b", "duplicate")]
    assert ids(house) == ["1"]


def test_a_touched_file_is_looked_at_again_and_nothing_comes_of_it(house: House):
    house.land("notes/a", note(1))
    house.drain(NOTES)
    house.land("notes/a", note(1))
    house.drain(NOTES)
    assert states(house)[1:] == [(2, "notes/a", "duplicate")]
    assert house.run(NOTES).delivery is None
    assert ids(house) == ["1"]


def test_a_corrected_file_is_a_revision_and_both_contents_are_kept(house: House):
    house.land("notes/a", note(1, 2))
    house.drain(NOTES)
    house.land("notes/a", note(1, text="y"))
    house.drain(NOTES)
    assert states(house)[1:] == [(2, "notes/a", "revised")]
    assert house.rows(NOTES).select("id", "text", "batch").rows() == [("1", "x", 1), ("2", "x", 1), ("1", "y", 2)]


def test_old_content_after_a_correction_does_not_roll_back(house: House):
    for text in ("old", "new", "old"):
        house.land("notes/a", note(1, text=text))
        house.drain(NOTES)
    assert [state for *_, state in states(house)] == ["accepted", "revised", "duplicate"]
    assert house.rows(NOTES)["text"].to_list() == ["old", "new"]


def test_a_half_copied_gzip_is_unreadable_and_taken_once_it_is_whole(house: House):
    whole = gzip.compress(note(*range(100)).encode(), mtime=0)
    house.land("notes/a.gz", whole[:-20])
    work = house.drain(NOTES)[NOTES.key][0]
    assert red(work) == {"files_are_readable": "ERROR"}
    assert work.refusal is None
    assert house.set_aside(NOTES).select("kind", "source_file", "source_row", "batch").rows() == [
        ("file", "notes/a.gz", None, 1)
    ]
    assert "cut off" in house.set_aside(NOTES)["reasons"][0][0]
    assert house.run(NOTES).delivery is None
    house.land("notes/a.gz", whole)
    assert red(house.drain(NOTES)[NOTES.key][0]) == {}
    assert [state for *_, state in states(house)] == ["unreadable", "accepted"]
    assert len(ids(house)) == 100


def test_a_torn_last_line_is_set_aside_with_its_text_and_the_rest_is_taken(house: House):
    house.land("notes/a", note(1, 2) + '{"id":3,"te')
    work = house.drain(NOTES)[NOTES.key][0]
    assert red(work) == {"records_are_readable": "ERROR"}
    why = "notes/a, line 3: not one JSON object: Unterminated string starting at character 9"
    assert finding(work, "records_are_readable").facts == {"failed": 1, "of": 3, "examples": [why]}
    assert ids(house) == ["1", "2"]
    assert house.set_aside(NOTES).select("kind", "source_file", "source_row", "row").rows() == [
        ("unread", "notes/a", 3, '{"id":3,"te')
    ]
    house.land("notes/a", note(1, 2, 3))
    house.drain(NOTES)
    assert ids(house) == ["1", "2", "1", "2", "3"]


def test_an_empty_file_is_taken_and_has_no_records(house: House):
    house.land("notes/a", b"")
    assert red(house.drain(NOTES)[NOTES.key][0]) == {}
    assert house.ledger(NOTES).select("state", "records").rows() == [("accepted", 0)]
    assert ids(house) == []


def test_an_empty_gzip_name_is_unreadable(house: House):
    house.land("notes/a.gz", b"")
    assert red(house.drain(NOTES)[NOTES.key][0]) == {"files_are_readable": "ERROR"}
    assert states(house) == [(1, "notes/a.gz", "unreadable")]


@pytest.mark.parametrize("name", [".a", "_a", "a.tmp", "a.part"])
def test_hidden_and_unfinished_names_are_never_taken(house: House, name: str):
    house.land(f"notes/{name}", note(1))
    house.land("notes/seen", note(2))
    house.drain(NOTES)
    assert states(house) == [(1, "notes/seen", "accepted")]


def test_a_file_whose_time_did_not_stand_still_waits(house: House):
    house.land("notes/a", note(1), modified_at=datetime.now(UTC))
    assert house.run(NOTES).delivery is None
    with patch.object(landing, "datetime") as clock:
        clock.now.return_value = datetime.now(UTC) + timedelta(seconds=3)
        house.run(NOTES)
    assert ids(house) == ["1"]


def test_a_file_from_a_clock_far_ahead_does_not_wait_for_ever(house: House):
    house.land("notes/a", note(1), modified_at=datetime.now(UTC) + timedelta(days=3650))
    house.drain(NOTES)
    assert ids(house) == ["1"]


def test_a_file_that_grew_since_it_was_listed_waits_for_the_next_listing(house: House):
    house.land("notes/a", note(1))
    house.land("notes/b", note(2))
    read = LocalDisk.read

    def grows(disk: LocalDisk, name: str) -> bytes:
        return read(disk, name) + (b"more" if name == "notes/a" else b"")

    with patch.object(LocalDisk, "read", grows):
        house.run(NOTES)
    assert states(house) == [(1, "notes/b", "accepted")]
    house.drain(NOTES)
    assert ids(house) == ["2", "1"]


def test_a_file_that_vanished_between_listing_and_reading_is_lost_and_taken_when_it_comes_back(house: House):
    house.land("notes/a", note(1))
    with patch.object(LocalDisk, "read", side_effect=FileGone("gone")):
        work = house.run(NOTES)
    assert red(work) == {"no_planned_file_is_lost": "ERROR"}
    assert work.refusal is None
    assert states(house) == [(1, "notes/a", "lost")]
    house.drain(NOTES)
    assert states(house)[1:] == [(2, "notes/a", "accepted")]
    assert ids(house) == ["1"]


# ---- between plan and apply ----


def test_a_batch_that_was_planned_and_not_applied_is_applied_exactly(house: House):
    house.land("notes/a", note(1))
    planned = house.work(NOTES)
    house.land("notes/b", note(2))
    work = house.run(NOTES)
    assert work.delivery is not None
    assert planned.delivery is not None
    assert work.delivery.transactions == planned.delivery.transactions
    assert ids(house) == ["1"]
    house.drain(NOTES)
    assert ids(house) == ["1", "2"]


def test_a_planned_file_that_is_gone_is_recorded_as_lost(house: House):
    house.land("notes/a", note(1))
    house.land("notes/b", note(2))
    house.work(NOTES)
    gone(house, "notes/a")
    work = house.run(NOTES)
    assert red(work) == {"no_planned_file_is_lost": "ERROR"}
    assert states(house) == [(1, "notes/a", "lost"), (1, "notes/b", "accepted")]
    assert "planned, and gone" in house.ledger(NOTES)["reason"][0]
    assert ids(house) == ["2"]


def test_a_planned_file_that_was_lost_is_taken_when_it_comes_back(house: House):
    house.land("notes/a", note(1))
    house.work(NOTES)
    away = house.file("notes/a").rename(house.root / "away")
    house.run(NOTES)
    away.rename(house.file("notes/a"))
    house.drain(NOTES)
    assert [state for *_, state in states(house)] == ["lost", "accepted"]
    assert ids(house) == ["1"]


def test_when_the_first_of_two_equal_files_is_lost_the_second_is_taken(house: House):
    house.land("notes/a", note(1))
    house.land("notes/b", note(1))
    house.work(NOTES)
    gone(house, "notes/a")
    house.run(NOTES)
    assert [state for *_, state in states(house)] == ["lost", "accepted"]
    assert ids(house) == ["1"]


def test_a_planned_file_that_changed_is_planned_anew_and_listed_no_more(house: House):
    house.land("notes/a", note(1))
    house.land("notes/b", note(2))
    house.work(NOTES)
    house.land("notes/a", note(3, 4))
    house.run(NOTES)
    assert ids(house) == ["3", "4", "2"]
    assert house.run(NOTES).delivery is None
    assert [state for *_, state in states(house)] == ["accepted", "accepted"]


def test_a_planned_file_that_is_being_written_again_is_left_until_it_settles(house: House):
    house.land("notes/a", note(1))
    house.land("notes/b", note(2))
    house.work(NOTES)
    house.land("notes/a", note(3), modified_at=datetime.now(UTC))
    house.run(NOTES)
    assert ids(house) == ["2"]
    os.utime(house.file("notes/a"), (1, 1))
    house.drain(NOTES)
    assert ids(house) == ["2", "3"]


def test_a_batch_whose_only_file_is_being_written_again_takes_nothing_yet(house: House):
    house.land("notes/a", note(1))
    house.work(NOTES)
    house.land("notes/a", note(3), modified_at=datetime.now(UTC))
    assert house.run(NOTES).delivery is None
    os.utime(house.file("notes/a"), (1, 1))
    house.drain(NOTES)
    assert ids(house) == ["3"]
    assert states(house) == [(1, "notes/a", "accepted")]


def test_of_several_plans_of_a_batch_the_last_is_applied(house: House):
    house.land("notes/a", note(1))
    for number in (2, 3):
        house.work(NOTES)
        house.land("notes/a", note(number))
    planned = house.work(NOTES)
    work = house.run(NOTES)
    assert planned.delivery is not None
    assert work.delivery is not None
    assert work.delivery.transactions == planned.delivery.transactions
    assert work.facts["files"] == 1
    assert ids(house) == ["3"]


def test_plans_that_were_not_applied_leave_the_ledger_with_the_next_batch(house: House):
    house.land("notes/a", note(1))
    house.work(NOTES)
    house.land("notes/a", note(2))
    house.run(NOTES)
    house.land("notes/b", note(3))
    house.drain(NOTES)
    ledger = house.place.ledger(NOTES)
    stored = Ledger.open(NOTES, ledger, house.open(NOTES))._rows
    assert stored.select("batch", "name", "accepted").rows() == [(1, "notes/a", 1), (2, "notes/b", 1)]


def test_a_ledger_of_many_small_batches_lies_in_a_few_files_and_says_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lakehouse.engine.ingest.ledger.SMALL_FILES", 3)
    files = []
    for number in range(11):
        house.land(f"notes/{number:02}", note(number))
        house.work(NOTES)  # planned; and planned anew, since the file changes before it is applied
        house.land(f"notes/{number:02}", note(number, 100 + number))
        house.run(NOTES)
        handle = Handle.open(house.place.ledger(NOTES))
        assert handle is not None
        files.append(handle.files().height)
    assert max(files) <= 6  # before they are laid together: three small ones, the last batch's, and two plans of one
    assert states(house) == [(number + 1, f"notes/{number:02}", "accepted") for number in range(11)]
    house.land("notes/zz", note(0, 100))
    assert house.drain(NOTES)[NOTES.key][0].facts["files_duplicate"] == 1
    assert house.ledger(NOTES)["reason"][-1] == "same content as notes/00 (batch 1)"


# ---- batches and rivals ----


def test_more_files_than_a_batch_holds_come_in_several_in_order_of_their_names(house: House):
    for number in range(5):
        house.land(f"notes/{number}", note(number))
    with files_per_batch(2):
        done = house.drain(NOTES)[NOTES.key]
    assert [work.facts.get("files_waiting") for work in done] == [3, 1, 0, None]
    assert [(batch, name) for batch, name, _ in states(house)] == [
        (1, "notes/0"), (1, "notes/1"), (2, "notes/2"), (2, "notes/3"), (3, "notes/4"),
    ]  # fmt: skip
    assert ids(house) == ["0", "1", "2", "3", "4"]


def test_a_run_lists_each_folder_once_and_reads_each_file_of_its_batch_once_and_no_other(house: House):
    daily = declare(notes_landed, write=Append(), source=Files("notes/dt=*/*.gz", formats=JsonLines()))
    opened: Counter[str] = Counter()
    tell(str(house.root / "landing"), lambda kind, path: opened.update([f"{kind} {path}"]))
    folders = [house.file(""), house.file("notes"), *(house.file(f"notes/dt={day}") for day in range(4))]
    listed = dict.fromkeys((f"list {folder}" for folder in folders), 1)

    def run() -> dict[str, int]:
        opened.clear()
        house.run(daily)
        return dict(opened)

    def land(*numbers: int) -> dict[str, int]:
        names = [f"notes/dt={number % 4}/{number:02}.gz" for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            house.land(name, note(number))
        return {f"read {house.file(name)}": 1 for name in names}

    first = land(*range(0, 40, 4))  # all of one day, which is the first in order
    for number in range(3):
        house.file(f"notes/dt={number + 1}").mkdir()
    assert run() == {**listed, **first}
    assert run() == listed
    more = land(*range(1, 40, 4))
    with files_per_batch(7):
        assert run() == {**listed, **dict([*more.items()][:7])}
    house.work(daily)  # planned, and not applied
    assert run() == dict([*more.items()][7:])  # what was planned needs no listing
    assert house.rows(daily).height == 20


def test_the_next_files_are_read_while_one_is_waited_for(house: House):
    for name in ("a", "b"):
        house.land(f"notes/{name}", note(ord(name)))
    both, read = Barrier(2), LocalDisk.read

    def waits_for_the_other(disk: LocalDisk, name: str) -> bytes:
        both.wait(10)
        return read(disk, name)

    with patch.object(LocalDisk, "read", waits_for_the_other):
        house.run(NOTES)
        house.run(NOTES, rebuild=True)
    assert ids(house) == ["97", "98"]


@pytest.mark.parametrize("is_first", [True, False])
def test_rows_are_written_while_the_next_files_are_read_and_seen_with_the_commit(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    is_first: bool,  # noqa: FBT001 # a drawn case
):
    if not is_first:
        house.land("notes/0", note(0))
        house.drain(NOTES)
    for name in range(1, 6):
        house.land(f"notes/{name}", note(name * 10, name * 10 + 1))
    monkeypatch.setattr(reader, "BYTES_AT_ONCE", 1)
    monkeypatch.setattr(ahead, "BYTES_AHEAD", 2 * len(note(10, 11)))
    before = [] if is_first else ["0"]
    delivery = house.work(NOTES).delivery
    assert delivery is not None
    assert [each.rows for each in delivery.written] == [4, 4]
    assert ids(house) == before
    deliver(delivery)
    assert ids(house) == [*before, "10", "11", "20", "21", "30", "31", "40", "41", "50", "51"]
    files = opened(house).files()
    assert files["rows"].to_list()[len(before) :] == [4, 4, 2]
    assert files["min.id"].to_list()[len(before) :] == ["10", "30", "50"]
    assert files["max.source_file"].to_list()[len(before) :] == ["notes/2", "notes/4", "notes/5"]


def test_what_cannot_be_written_ahead_is_an_error_and_nothing_is_lost(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "BYTES_AHEAD", 1)
    house.land("notes/a", note(1))
    house.land("notes/b", note(2))
    with (
        patch("lakehouse.engine.delta.ahead.write_files", side_effect=OSError("no space left")),
        pytest.raises(OSError, match="no space left"),
    ):
        house.work(NOTES)
    house.drain(NOTES)
    assert ids(house) == ["1", "2"]
    assert states(house) == [(1, "notes/a", "accepted"), (1, "notes/b", "accepted")]


def opened(house: House) -> Handle:
    handle = house.open(NOTES)
    assert handle is not None
    return handle


def test_more_bytes_than_a_batch_holds_come_in_several(house: House):
    for number in range(3):
        house.land(f"notes/{number}", note(number))
    with patch.object(landing, "BYTES_PER_BATCH", 2 * len(note(0))):
        house.drain(NOTES)
    assert [batch for batch, *_ in states(house)] == [1, 1, 2]
    assert ids(house) == ["0", "1", "2"]


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_that_plan_at_once_one_is_told_so_and_nothing_is_doubled(house: House, is_first: bool):  # noqa: FBT001 # a drawn case
    if not is_first:
        house.land("notes/before", note(0))
        house.drain(NOTES)
    house.land("notes/a", note(1))
    commit = Ledger.commit
    rivals: list[object] = []

    def slower(ledger: Ledger, entries: list[Entry], **words: bool) -> object:
        if not rivals:
            rivals.append(None)
            rivals.append(house.work(NOTES))
        return commit(ledger, entries, **words)

    with patch.object(Ledger, "commit", slower), pytest.raises(Conflict):
        house.work(NOTES)
    house.drain(NOTES)
    assert ids(house) == (["1"] if is_first else ["0", "1"])


def test_of_two_that_apply_the_same_plan_one_is_told_so(house: House):
    house.land("notes/a", note(1))
    first, second = house.work(NOTES), house.work(NOTES)
    assert first.delivery is not None
    assert second.delivery is not None
    deliver(first.delivery)
    with pytest.raises(Conflict):
        deliver(second.delivery)
    assert ids(house) == ["1"]


def test_one_that_opened_the_table_before_two_batches_came_plans_nothing(house: House):
    house.land("notes/a", note(1))
    house.drain(NOTES)
    stale = house.open(NOTES)
    house.land("notes/b", note(2))
    house.drain(NOTES)
    house.land("notes/c", note(3))
    house.work(NOTES)
    ledger = Ledger.open(NOTES, house.place.ledger(NOTES), stale)
    house.land("notes/c", note(4))
    with pytest.raises(Conflict, match="Another run may have been faster"):
        landing.next_batch(NOTES, house.place.landing, ledger)
    house.drain(NOTES)
    assert ids(house) == ["1", "2", "4"]


# ---- rebuild, and what was taken away ----


def test_a_rebuild_reads_the_files_of_the_ledger_again_and_changes_nothing(house: House):
    house.land("notes/a", note(1) + "torn")
    house.land("notes/b.gz", b"no gzip")
    house.drain(NOTES)
    house.land("notes/c", note(2))
    house.drain(NOTES)
    before, aside = house.rows(NOTES), house.set_aside(NOTES).drop("version", "attempt", "quarantined_at")
    work = house.run(NOTES, rebuild=True)
    assert finding(work, "counts_add_up").passed
    assert house.rows(NOTES).equals(before)
    assert (
        house.set_aside(NOTES)
        .drop("version", "attempt", "quarantined_at")
        .sort("source_file")
        .equals(aside.sort("source_file"))
    )
    assert house.run(NOTES).delivery is None


def test_a_rebuild_is_green_where_a_broken_file_was_sent_again_since(house: House):
    house.land("notes/a.gz", b"no gzip")
    house.drain(NOTES)
    house.land("notes/a.gz", note(1))
    house.land("notes/b.gz", b"no gzip either")
    house.drain(NOTES)
    assert finding(house.run(NOTES, rebuild=True), "files_are_readable").facts["failed"] == 1
    house.land("notes/b.gz", note(2))
    house.drain(NOTES)
    assert finding(house.run(NOTES, rebuild=True), "files_are_readable").passed


class WiderNotes(Bronze):
    """One row per note, since notes are signed."""

    id: int = column("Number of the note")
    text: str = column("What it says", nullable=True)
    by: str = column("Who signed it", nullable=True)


def test_a_rebuild_reads_files_that_are_gone_or_were_corrected_from_what_the_table_keeps(house: House):
    house.land("notes/a", '{"id":1.50,"text":"x","by":"Ann","at":7.0}\n\ntorn\n' + note(2))
    house.land("notes/b", '{"id":3,"by":null}\n')
    house.land("notes/c", note(4))
    house.drain(NOTES)
    before, aside = house.rows(NOTES), house.set_aside(NOTES)
    gone(house, "notes/a")
    house.land("notes/b", '{"id":5,"by":"Eve"}\n')
    house.drain(NOTES)
    before = pl.concat([before, house.rows(NOTES).tail(1)])
    assert house.run(NOTES, rebuild=True).facts["files_only_the_table_kept"] == 2
    assert house.rows(NOTES).equals(before)
    same = ["source_file", "source_row", "batch", "kind", "reasons", "row"]
    assert house.set_aside(NOTES).select(same).equals(aside.select(same))

    wider = replace(NOTES, contract=WiderNotes)
    house.run(wider, rebuild=True)
    rows = house.rows(wider).select("id", "by", "extra", "source_row", "batch").rows()
    assert rows == [
        ("1.50", "Ann", '{"/at":7.0}', 1, 1), ("2", None, None, 4, 1), ("3", None, None, 1, 1), ("4", None, None, 1, 1),
        ("5", "Eve", None, 1, 2),
    ]  # fmt: skip
    house.drain(wider)
    assert house.rows(wider).height == 5


MARK = b"\xef\xbb\xbf"
STRANGE = [MARK, MARK + b'{"id":1}', b'{"id":1,"text":"\xe9"}', b'{"id":1,"text":"a\\\xff"}', b"torn\r"]


@pytest.mark.parametrize("line", STRANGE)
def test_what_was_set_aside_of_a_file_that_is_gone_stays_so_as_it_came(house: House, line: bytes):
    house.land("notes/a", MARK + line + b"\r\n" + note(2).encode())
    house.drain(NOTES)
    before, aside = house.rows(NOTES), house.set_aside(NOTES).drop("version", "attempt")
    gone(house, "notes/a")
    house.run(NOTES, rebuild=True)
    assert house.rows(NOTES).equals(before)
    assert house.set_aside(NOTES).drop("version", "attempt").equals(aside)


def test_a_kept_line_that_a_new_contract_rejects_is_said_to_be_written_anew(house: House):
    class Listed(Bronze):
        """One row per note."""

        id: int = column("Number of the note")
        text: list[str] = column("What it says", nullable=True)

    house.land("notes/a", note(1))
    house.drain(NOTES)
    gone(house, "notes/a")
    work = house.run(replace(NOTES, contract=Listed), rebuild=True)
    assert finding(work, "counts_add_up").passed
    (aside,) = house.set_aside(NOTES).select("reasons", "row", "source_row").rows()
    said = "text: expected a list, got a string (the line is written anew from what the table kept, its file is gone)"
    assert aside == ([said], '{"id":"1","text":"x"}', 1)


def test_a_rebuild_refuses_with_the_list_of_files_that_nothing_keeps(house: House):
    for name in "abc":
        house.land(f"notes/{name}", note(ord(name)))
    house.drain(NOTES)
    gone(house, "notes/a")
    house.land("notes/b", note(9))
    shutil.rmtree(house.place.table(NOTES).uri)
    with pytest.raises(
        Refused, match=r"of 3 files, 2 are .*notes/a \(batch 1\): no longer there; notes/b .*other content"
    ):
        house.run(NOTES, rebuild=True)
    assert house.open(NOTES) is None


def flipped(content: bytes) -> bytes:
    """Still a file that Parquet reads: what is other now are the letters of a text, which lie in it as they are."""
    assert content.count(b"wxyz") > 0
    return content.replace(b"wxyz", b"WXYZ")


DAMAGES = {
    "flipped": (lambda file: file.write_bytes(flipped(file.read_bytes())), "its checksum is another"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-9]), r"has [\d,]+ bytes, and [\d,]+ by the log"),
    "gone": (lambda file: file.unlink(), "is not there"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_rebuild_reads_nothing_of_a_gone_file_from_what_is_damaged_of_the_table(house: House, damage: str):
    for name in "ab":
        house.land(f"notes/{name}", note(ord(name), text=f"wxyz {name}"))
        house.drain(NOTES)
    before, table = house.rows(NOTES), Path(house.place.table(NOTES).uri)
    file = table / house.open(NOTES).files()["path"][0]  # type: ignore[union-attr]
    whole, landed = file.read_bytes(), house.file("notes/a").read_bytes()
    hurt, fault = DAMAGES[damage]
    hurt(file)
    gone(house, "notes/a")
    where = rf"{table}: {file.name} .*{fault}"
    said = rf"notes/a \(batch 1\): no longer there.* {where}\. Nothing was written\. .*--accept-loss"
    with pytest.raises(Refused, match=said):
        house.run(NOTES, rebuild=True)
    house.land("notes/a", landed)
    gone(house, "notes/b")
    house.run(NOTES, rebuild=True)
    assert house.rows(NOTES).drop("batch").equals(before.drop("batch")), "what is whole of the table is read"
    file.write_bytes(whole)


def test_a_rebuild_reads_nothing_of_a_gone_file_from_what_is_damaged_of_its_quarantine(house: House):
    house.land("notes/a", note(1) + '{"wxyz')
    house.drain(NOTES)
    aside = Path(house.place.quarantine(NOTES).uri)
    (file,) = aside.glob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(flipped(whole))
    gone(house, "notes/a")
    with pytest.raises(Refused, match=rf"{aside}: {file.name} is not as it was written: .*Nothing was written\."):
        house.run(NOTES, rebuild=True)
    file.write_bytes(whole)
    house.run(NOTES, rebuild=True)
    assert house.set_aside(NOTES)["row"].to_list() == ['{"wxyz']


def test_a_table_that_was_taken_away_is_not_filled_with_the_last_batch_only(house: House):
    house.land("notes/a", note(1))
    house.drain(NOTES)
    house.land("notes/b", note(2))
    house.drain(NOTES)
    taken = Path(house.place.table(NOTES).uri)
    taken.rename(taken.parent / "elsewhere")
    with pytest.raises(Conflict, match="lakehouse rebuild bronze/notes_landed"):
        house.run(NOTES)
    house.run(NOTES, rebuild=True)
    assert ids(house) == ["1", "2"]
    house.land("notes/c", note(3))
    house.drain(NOTES)
    assert ids(house) == ["1", "2", "3"]


def test_a_ledger_that_was_taken_away_does_not_double_the_table(house: House):
    house.land("notes/a", note(1))
    house.drain(NOTES)
    taken = Path(house.place.ledger(NOTES).uri)
    taken.rename(taken.parent / "elsewhere")
    with pytest.raises(Conflict, match="planned 0 batches and the table holds 1"):
        house.run(NOTES)
    taken.parent.joinpath("elsewhere").rename(taken)
    assert ids(house) == ["1"]


def test_counts_are_taken_by_other_code_than_the_reader(house: House):
    house.land("notes/a", note(1, 2, 3))
    read = reader.parse

    def loses_one(*asked: Any) -> Parsed:
        parsed = read(*asked)
        return Parsed(parsed.accepted.head(2), parsed.rejected)

    with patch.object(reader, "parse", loses_one):
        work = house.work(NOTES)
    assert red(work) == {"counts_add_up": "ERROR"}


# ---- names and links that mean harm ----


def test_a_link_that_leads_out_of_the_landing_is_set_aside_whole_and_all_else_is_taken(house: House):
    house.land("../secret", note(7))
    house.land("notes/a", note(1))
    house.file("notes/b").symlink_to(house.root / "secret")
    house.drain(NOTES)
    assert (ids(house), house.states(NOTES)) == (["1"], [("notes/a", "accepted"), ("notes/b", "unreadable")])
    (why,) = house.set_aside(NOTES)["reasons"].list.join("").to_list()
    assert why.startswith("notes/b cannot be read: a link leads from it to ")
    assert house.run(NOTES).delivery is None, "it is told once"
    house.file("notes/b").unlink()
    house.land("notes/b", note(2))
    house.drain(NOTES)
    assert ids(house) == ["1", "2"]


def test_a_planned_file_that_has_become_a_link_out_of_the_landing_is_set_aside(house: House):
    house.land("../secret", note(7))
    house.land("notes/a", note(1))
    house.work(NOTES)  # planned, and not applied
    house.file("notes/a").unlink()
    house.file("notes/a").symlink_to(house.root / "secret")
    house.drain(NOTES)
    assert (ids(house), set(house.states(NOTES))) == ([], {("notes/a", "unreadable")})


def test_a_rebuild_takes_a_link_out_of_the_landing_for_a_file_that_is_gone(house: House):
    house.land("../secret", note(7))
    house.land("notes/a", note(1))
    house.drain(NOTES)
    house.file("notes/a").unlink()
    house.file("notes/a").symlink_to(house.root / "secret")
    house.run(NOTES, rebuild=True)
    assert ids(house) == ["1"], "of what the table kept"


@pytest.mark.parametrize("name", ["[x]*?.gz", "it's.gz", "$(touch x);`y` #.gz", "two\nlines.gz", "a\\b.gz", "-x.gz"])
def test_the_command_that_reads_a_file_again_is_one_word_of_a_shell_and_fits_that_file_only(house: House, name: str):
    for each in (f"notes/{name}", "notes/x!!.gz"):
        house.land(each, gzip.compress(b"xy")[:-3])
    large = replace(NOTES, source=Files("notes/*", formats=JsonLines(), limits=Limits(unpacked_bytes=1)))
    house.run(large)
    (reason,) = house.ledger(large).filter(pl.col("name") == f"notes/{name}")["reason"]
    command, table, option, files = shlex.split(reason.partition("then: lakehouse ")[2])
    assert (command, table, option) == ("reingest", "bronze/notes_landed", "--files")
    house.run(large, reingest=files)
    assert house.ledger(large).filter(pl.col("batch") == 2)["name"].to_list() == [f"notes/{name}"]
