"""`lakehouse why`: a key's rows, the files they came with, what was set aside, and what was made of them."""

from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Gold, Silver, check, column
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import declare
from lakehouse.engine.declare.write import Append, Merge, Overwrite
from lakehouse.engine.delta.retention import promise
from lakehouse.engine.orchestrate.story import NoSuchKey, Story, story
from lakehouse_tests.driver import House


class Asked(Bronze):
    """One row per question, as it was sent."""

    room: str = column("Where it was asked")
    number: int = column("Which it was")
    votes: int = column("How many liked it")


def asked() -> Frame[Asked]: ...


ASKED = declare(asked, write=Append(), source=Files("asked/*", formats=JsonLines()))


class Questions(Silver):
    """One row per question."""

    room: str = column("Where it was asked", key=True)
    number: int = column("Which it was", key=True)
    votes: int = column("How many liked it")

    @check
    def votes_are_counted() -> pl.Expr:
        """No question has votes below none."""
        return pl.col("votes") >= 0


def questions(rows: New[Asked]) -> Frame[Questions]:
    return rows.select("room", "number", "votes")


QUESTIONS = declare(questions, write=Merge())


class Rooms(Gold):
    """One row per room."""

    room: str = column("Where", key=True)
    votes: int = column("Of all its questions")


def rooms(each: Frame[Questions]) -> Frame[Rooms]:
    return each.group_by("room").agg(pl.col("votes").sum())


ROOMS = declare(rooms, write=Overwrite())
TABLES = [ASKED, QUESTIONS, ROOMS]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def land(house: House, name: str, *lines: str) -> None:
    house.land(f"asked/{name}", "".join(f"{each}\n" for each in lines))
    house.drain(*TABLES)


def told(house: House, *values: str) -> Story:
    return story(QUESTIONS, TABLES, house.place, values)


def question(room: str, number: int, votes: object) -> str:
    return f'{{"room":"{room}","number":{number},"votes":{votes}}}'


def test_a_row_tells_every_arrival_with_the_version_that_had_read_it_and_what_was_made_of_it(house: House):
    land(house, "1", question("a", 1, 5), question("a", 2, 1), question("b", 1, 7))
    land(house, "2", question("c", 1, 1))
    land(house, "3", question("a", 1, 6))
    known = told(house, "a", "1")
    assert known.standing.rows() == [("a", 1, 6)]
    assert known.arrivals.select("table", "source_file", "source_row", "batch", "version").rows() == [
        ("bronze/asked", "asked/1", 1, 1, 1),
        ("bronze/asked", "asked/3", 1, 3, 3),
    ]
    assert known.set_aside.is_empty()
    assert {key: rows.rows() for key, rows in known.made.items()} == {"gold/rooms": [("a", 7)]}


def test_the_first_columns_of_a_key_are_enough(house: House):
    land(house, "1", question("a", 1, 5), question("a", 2, 1), question("b", 1, 7))
    assert sorted(told(house, "a").standing["number"]) == [1, 2]
    assert told(house, "a").arrivals["source_row"].to_list() == [1, 2]


def test_what_was_set_aside_is_told_of_every_table_on_the_way_and_of_no_other_key(house: House):
    land(house, "1", question("a", 1, 5), question("a", 1, -2), question("a", 2, -3), question("b", 1, -1))
    land(house, "2", question("a", 1, '"many"'), '{"room":"a","number":1', '{"room":"b"')
    known = told(house, "a", "1")
    assert known.set_aside.select("table", "kind", "source_file", "source_row").rows() == [
        ("silver/questions", "broke", "asked/1", 2),
        ("silver/questions", "unread", "asked/2", 1),
        ("bronze/asked", "unread", "asked/2", 2),
    ]
    assert known.set_aside["reasons"].list.first().to_list()[0] == "votes_are_counted"


def test_upkeep_of_what_is_read_is_no_arrival(house: House):
    land(house, "1", question("a", 1, 5))
    arrived = house.open(ASKED)
    assert arrived is not None
    promise(arrived, 720)
    land(house, "2", question("b", 1, 5))
    assert told(house, "a", "1").arrivals["version"].to_list() == [1]


def test_a_key_that_never_came_tells_nothing(house: House):
    land(house, "1", question("a", 1, 5))
    known = told(house, "z", "9")
    assert [each.height for each in (known.standing, known.arrivals, known.set_aside)] == [0, 0, 0]
    assert {key: rows.height for key, rows in known.made.items()} == {"gold/rooms": 0}


def test_where_a_log_was_cleaned_no_version_is_guessed(house: House):
    land(house, "1", question("a", 1, 5))
    land(house, "2", question("b", 1, 5))
    log = house.root / "lake" / "silver" / "questions" / "_delta_log"
    handle = house.open(QUESTIONS)
    assert handle is not None
    handle._table.create_checkpoint()
    (log / f"{1:020d}.json").unlink()
    assert told(house, "a", "1").arrivals["version"].to_list() == [None]


@pytest.mark.parametrize(
    ("declared", "values", "why"),
    [
        (ASKED, ["1"], "bronze/asked has no key to ask for. Ask a table that reads it."),
        (QUESTIONS, ["a", "1", "x"], r"silver/questions: 3 values given for its key \(room, number\)\."),
        (QUESTIONS, [], "silver/questions: 0 values given"),
        (QUESTIONS, ["a", "one"], "silver/questions: 'one' is no Int64, as number is."),
        (ROOMS, ["a"], "gold/rooms was not written yet. Next: lakehouse run"),
    ],
)
def test_what_cannot_be_asked_is_said(house: House, declared: object, values: list[str], why: str):
    house.land("asked/1", question("a", 1, 5))
    house.drain(ASKED, QUESTIONS)
    with pytest.raises(NoSuchKey, match=why):
        story(declared, TABLES, house.place, values)  # type: ignore[arg-type]
