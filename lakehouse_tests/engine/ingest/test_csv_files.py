"""CSV files that land: their format is found by their header, every record is counted, and what is odd has an end."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.dtypes import Gbp
from lakehouse.engine.declare.errors import DeclarationError, Refused
from lakehouse.engine.declare.formats import Csv, JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.source import Files, Snapshots
from lakehouse.engine.declare.table import declare
from lakehouse.engine.declare.text import number_text
from lakehouse.engine.declare.write import Append, Merge, Overwrite, Quarantine
from lakehouse_tests.driver import House, files_per_batch, finding, red

OLD, NEW = Csv(), Csv(delimiter=";", encoding="cp1252")


class Priced(Bronze):
    """One row per product and week."""

    code: int = column("Number of the product")
    name: str = column("What it is", nullable=True)
    price: Gbp = column("Price of a piece", text=number_text(decimal=","))


def priced() -> Frame[Priced]: ...


PRICED = declare(
    priced, write=Append(), source=Files("prices/*", formats=[OLD, NEW], settle=timedelta(seconds=2))
)  # fmt: skip


class Prices(Silver):
    """One row per product."""

    code: int = column("Number of the product", key=True)
    price: Gbp = column("Price of a piece")


def prices(rows: New[Priced]) -> Frame[Prices]:
    return rows.select("code", "price")


class Days(Silver):
    """One row per product and day."""

    dt: date = column("Day of the count", key=True)
    code: int = column("Number of the product", key=True)


PRICES = declare(prices, write=Merge(), rejects=Quarantine())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture(autouse=True)
def every_record_is_counted(house: House):
    yield
    if house.open(PRICED) is not None:
        house.assert_counts_add_up(PRICED)


def test_each_file_is_read_as_the_first_format_that_fits_and_the_ledger_says_which(house: House):
    house.land("prices/1.csv", b'code,name,price\n7,"Mug, red","2,55"\n')
    house.land("prices/2.csv.gz", "code;name;price\r\n8;\u00a3 bag;1,5\r\n")
    work = house.run(PRICED)
    assert red(work) == {}
    assert house.rows(PRICED).select("code", "name", "price", "source_file", "source_row").rows() == [
        ("7", "Mug, red", "2,55", "prices/1.csv", 2),
        ("8", "Â£ bag", "1,5", "prices/2.csv.gz", 2),
    ]
    assert house.ledger(PRICED)["reason"].to_list() == [
        "read as Csv()",
        "read as Csv(delimiter=';', encoding='cp1252')",
    ]


def test_a_file_that_fits_no_format_is_set_aside_whole_and_says_why_of_each(house: House):
    house.land("prices/1.csv", b"code,title,price\n7,Mug,1\n")
    house.land("prices/2.csv", b"code,name,price\n8,Bag,2\n")
    work = house.run(PRICED)
    assert red(work) == {"files_are_readable": "ERROR"}
    said = (
        "prices/1.csv cannot be read: as Csv(): column 'name' is missing, and 'title' came (if that is it: "
        "was='title'); as Csv(delimiter=';', encoding='cp1252'): its header is one field, 'code,title,price' "
        "(is the delimiter another one?). "
        "Nothing of it was taken; have its source send it as declared, or mend formats=, then: lakehouse reingest "
        "bronze/priced --files prices/1.csv"
    )
    assert finding(work, "files_are_readable").facts["examples"] == [said]
    assert house.rows(PRICED)["code"].to_list() == ["8"]


def test_a_file_that_could_not_be_read_is_no_ones_duplicate(house: House):
    house.land("spelt/dt=1/a", b"code;name\n1,x\n")
    house.land("spelt/dt=2/a", b"code;name\n1,x\n")
    house.run(WRONG)
    house.land("spelt/dt=3/a", b"code;name\n1,x\n")
    house.run(RIGHT)
    assert house.ledger(RIGHT)["state"].to_list() == ["unreadable", "unreadable", "accepted"]
    house.assert_counts_add_up(RIGHT)


def test_a_file_that_turns_out_unreadable_halfway_leaves_nothing(house: House):
    house.land("prices/1.csv", b'code,name,price\n7,a,1\n8,"b\n' + b"9,c,3\n" * 300_000)
    house.land("prices/2.csv", b"code,name,price\n8,Bag,2\n")
    work = house.run(PRICED)
    assert red(work) == {"files_are_readable": "ERROR"}
    assert house.ledger(PRICED).select("state", "records", "accepted").rows() == [
        ("unreadable", 0, 0),
        ("accepted", 1, 1),
    ]
    assert house.rows(PRICED)["code"].to_list() == ["8"]


def test_a_record_that_is_odd_is_set_aside_with_its_lines_and_a_value_by_its_reader(house: House):
    house.land("prices/1.csv", b'code,name,price\n7,a\n8,b,"1,x"\n9,c,"2,5"\n')
    house.drain(PRICED, PRICES)
    assert house.set_aside(PRICED).select("source_row", "row").rows() == [(2, "7,a\n")]
    assert house.set_aside(PRICES)["source_row"].to_list() == [3]
    assert house.rows(PRICES).rows() == [(9, 2.5)]


def test_unknown_columns_are_kept_and_come_back_when_they_are_declared_from_what_the_table_kept(house: House):
    house.land("prices/1.csv", b"code,name,price,size\n7,a,1,XL\n")
    house.run(PRICED)
    assert house.rows(PRICED)["extra"].to_list() == ['{"/size":"XL"}']
    house.file("prices/1.csv").unlink()
    before = house.rows(PRICED)
    house.run(PRICED, rebuild=True)
    assert house.rows(PRICED).equals(before)


def test_json_lines_and_csv_may_follow_one_another_in_one_source(house: House):
    class Both(Bronze):
        """One row per product."""

        code: int = column("Number of the product")

    def priced_in_both() -> Frame[Both]: ...

    both = declare(priced_in_both, write=Append(), source=Files("both/*", formats=[Csv(), JsonLines()]))
    house.land("both/1", b"code\n1\n")
    house.land("both/2", b'{"code":2}\n')
    assert red(house.run(both)) == {}
    assert house.rows(both)["code"].to_list() == ["1", "2"]


# ---- files that are read again on purpose ----

WEST, EAST = Csv(encoding="latin-1"), Csv(encoding="cp1250")
SPELT = Files("spelt/dt=*/*", formats=[WEST], settle=timedelta(seconds=0))


class Spelt(Bronze):
    """One row per name."""

    code: int = column("Number of the name")
    name: str = column("How it is spelt")


def spelt() -> Frame[Spelt]: ...


WRONG = declare(spelt, write=Append(), source=SPELT)
RIGHT = declare(spelt, write=Append(), source=replace(SPELT, formats=[EAST, Csv(delimiter=";", encoding="cp1250")]))


class Names(Silver):
    """One row per name."""

    code: int = column("Its number", key=True)
    name: str = column("How it is spelt")


def names(rows: New[Spelt]) -> Frame[Names]:
    return rows.select("code", "name")


NAMES = declare(names, write=Merge())


def spell(house: House) -> None:
    house.land("spelt/dt=1/a", "code,name\n1,Łódź\n".encode("cp1250"))
    house.land("spelt/dt=2/a", "code;name\n2,x;Wrocław\n".encode("cp1250"))
    house.land("spelt/dt=3/a", b"code,name\n3,Mainz\n")
    house.drain(WRONG, NAMES)
    assert house.rows(NAMES)["name"].to_list() == ["£ódź".replace("ź", "\x9f"), "Mainz"]


def test_files_that_were_read_wrongly_are_read_again_and_count_as_corrected(house: House):
    spell(house)
    work = house.run(RIGHT, reingest="dt=1/*")
    house.drain(RIGHT, NAMES)
    assert work.facts["files"] == 1
    assert sorted(house.rows(NAMES).rows()) == [(1, "Łódź"), (3, "Mainz")]
    assert house.ledger(RIGHT).select("name", "state", "batch").rows()[-1] == ("spelt/dt=1/a", "revised", 2)
    house.assert_counts_add_up(RIGHT)


def test_a_file_that_could_not_be_read_is_taken_once_it_can(house: House):
    spell(house)
    assert house.ledger(WRONG)["state"].to_list() == ["accepted", "unreadable", "accepted"]
    house.run(RIGHT, reingest="spelt/dt=2/a")
    assert house.ledger(RIGHT)["state"].to_list()[-1] == "accepted"
    assert house.set_aside(RIGHT).filter(kind="file").height == 1
    assert house.rows(RIGHT)["name"].to_list()[-1] == "Wrocław"
    house.assert_counts_add_up(RIGHT)


def test_a_crash_after_the_plan_applies_it_as_it_was_planned(house: House):
    spell(house)
    house.work(RIGHT, reingest="*")
    with pytest.raises(Refused, match="First: lakehouse run"):
        house.work(RIGHT, reingest="*")
    house.drain(RIGHT, NAMES)
    assert house.ledger(RIGHT)["state"].to_list()[3:] == ["revised", "accepted", "revised"]
    assert sorted(house.rows(NAMES)["name"]) == ["Mainz", "Łódź"]
    house.assert_counts_add_up(RIGHT)


def test_files_that_were_never_read_are_not_read_again(house: House):
    spell(house)
    house.land("spelt/dt=4/a", b"code,name\n4,Bonn\n")
    with pytest.raises(Refused, match=r"'dt=4/\*' fits none of 3 files that were read .* such as spelt/dt=3/a\."):
        house.run(RIGHT, reingest="dt=4/*")
    with files_per_batch(2), pytest.raises(Refused, match=r"'\*' fits 3 files, and a batch holds 2 of 512 MB"):
        house.run(RIGHT, reingest="*")
    house.drain(RIGHT)
    assert house.rows(RIGHT)["code"].to_list() == ["1", "3", "4"]


# ---- snapshots: each file is the whole at a time ----


class Counted(Bronze):
    """One row per product and day."""

    dt: date = column("Day of the count")
    code: int = column("Number of the product")


def counted() -> Frame[Counted]: ...


COUNTED = declare(
    counted, write=Append(), source=Snapshots("count/dt=*/all.csv", formats=[Csv(), JsonLines()], valid_at="dt")
)


def told(house: House) -> list[tuple[str, str, int]]:
    return house.rows(COUNTED).select("dt", "code", "batch").rows()


def test_the_same_content_at_another_time_is_another_snapshot_and_again_at_the_same_it_is_none(house: House):
    house.land("count/dt=2024-01-01/all.csv", b"code\n1\n")
    house.land("count/dt=2024-01-02/all.csv", b"code\n1\n")
    assert red(house.run(COUNTED)) == {}
    house.land("count/dt=2024-01-02/all.csv", b"code\n1\n")
    house.run(COUNTED)
    assert told(house) == [("2024-01-01", "1", 1), ("2024-01-02", "1", 1)]
    assert house.ledger(COUNTED)["state"].to_list() == ["accepted", "accepted", "duplicate"]
    house.assert_counts_add_up(COUNTED)


def test_the_time_is_typed_for_readers_and_a_name_that_is_no_time_is_set_aside_there(house: House):
    def days(rows: Frame[Counted]) -> Frame[Days]:
        return rows.select("dt", "code")

    house.land("count/dt=2024-01-01/all.csv", b"code\n1\n")
    house.land("count/dt=someday/all.csv", b"code\n2\n")
    read = declare(days, write=Overwrite(), rejects=Quarantine())
    house.drain(COUNTED, read)
    assert house.rows(read).rows() == [(date(2024, 1, 1), 1)]
    assert house.set_aside(read)["source_file"].to_list() == ["count/dt=someday/all.csv"]


def test_snapshots_of_json_and_those_whose_files_are_gone_have_their_time(house: House):
    house.land("count/dt=2024-01-01/all.csv", b"code,dt\n1,x\n")
    house.land("count/dt=2024-01-02/all.csv", b'{"code":1,"dt":"y"}\n')
    house.run(COUNTED)
    before = house.rows(COUNTED)
    assert told(house) == [("2024-01-01", "1", 1), ("2024-01-02", "1", 1)]
    assert before["extra"].to_list() == ['{"/dt":"x"}', '{"/dt":"y"}']
    house.file("count/dt=2024-01-01/all.csv").unlink()
    assert house.run(COUNTED, rebuild=True).facts["files_only_the_table_kept"] == 1
    assert house.rows(COUNTED).equals(before)


@pytest.mark.parametrize(
    ("pattern", "valid_at", "why"),
    [
        ("count/*/all.csv", "dt", "taken from the file's name, and 0 parts of the pattern begin with 'dt='"),
        ("dt=*/dt=*/all.csv", "dt", "and 2 parts of the pattern begin with 'dt='"),
        ("count/day=*/all.csv", "day", "valid_at='day' names no column of Timed"),
    ],
)
def test_a_time_that_cannot_be_known_is_refused_at_load(pattern: str, valid_at: str, why: str):
    class Timed(Bronze):
        """One row per product and day."""

        dt: date = column("Day of the count")

    def timed() -> Frame[Timed]: ...

    with pytest.raises(DeclarationError, match=why):
        declare(timed, write=Append(), source=Snapshots(pattern, formats=Csv(), valid_at=valid_at))


def test_a_list_in_a_csv_table_is_refused_at_load():
    class Nested(Bronze):
        """One row per product."""

        codes: list[int] = column("Its numbers")

    def nested() -> Frame[Nested]: ...

    with pytest.raises(DeclarationError, match=r"bronze/nested: column 'codes' is .* a field of CSV is one text"):
        declare(nested, write=Append(), source=Files("x/*", formats=Csv()))
