"""A folder and a container behave alike: every test here runs on both."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from lakehouse.engine.declare.errors import DeclarationError, FileGone, Terminal, WrongUsage
from lakehouse.engine.declare.ports import Storage
from lakehouse.propose.files import Asked, new_table
from lakehouse_tests.azurite import A_KEY
from resources.adls import Adls
from resources.local_disk import LocalDisk

ODD_NAMES = [
    "with blank.csv",
    "[brackets].csv",
    "single'quote.csv",
    'double"quote.csv',
    "Zürich-東京-🛒.csv",
    "percent%20sign.csv",
    "plus+and&hash#.csv",
    "question?mark.csv",
    "dt=2011-01-04=x.csv",
]


@pytest.fixture(params=["local_disk", pytest.param("adls", marks=pytest.mark.azurite)])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "local_disk":
        return LocalDisk(path=str(tmp_path / "lake ü x"))
    azurite = request.getfixturevalue("azurite")
    monkeypatch.setenv("A_KEY", azurite.key)
    container = request.getfixturevalue("new_container")()
    return Adls(account=azurite.account, container=container, auth=A_KEY, endpoint=azurite.endpoint)


def names(storage: Storage, pattern: str) -> list[str]:
    return [found.name for found in storage.files(pattern)]


def test_both_meet_the_port(storage):
    assert isinstance(storage, Storage)


def test_what_was_written_is_read_back_byte_for_byte(storage):
    content = bytes(range(256)) * 5_000
    storage.write("erp/orders/dt=2011-01-04/orders.jsonl.gz", content)
    assert storage.read("erp/orders/dt=2011-01-04/orders.jsonl.gz") == content


def test_an_empty_file_is_a_file(storage):
    storage.write("a/empty.csv", b"")
    assert storage.read("a/empty.csv") == b""
    assert [found.size for found in storage.files("a/*")] == [0]


def test_the_later_write_stands_whole(storage):
    storage.write("a.csv", b"a long first text")
    storage.write("a.csv", b"short")
    assert storage.read("a.csv") == b"short"
    assert [found.size for found in storage.files("*.csv")] == [5]


def test_a_listing_says_name_size_and_time_in_utc(storage):
    before = datetime.now(UTC) - timedelta(seconds=2)
    storage.write("a/one.csv", b"12345")
    (found,) = storage.files("a/*.csv")
    assert (found.name, found.size) == ("a/one.csv", 5)
    assert found.modified_at.utcoffset() == timedelta(0)
    assert before <= found.modified_at <= datetime.now(UTC) + timedelta(seconds=2)


def test_a_listing_in_pages_is_left_and_gone_on_with(storage, monkeypatch):
    monkeypatch.setattr("resources.adls.FILES_PER_PAGE", 2)
    for name in ("b/2.csv", "b/1.csv", "a/9.csv", "a/_part.csv", "a/10.csv", "c/other.txt"):
        storage.write(name, b"")
    told, after = [], ""
    while True:
        page, after = next(iter(storage.pages("*/*.csv", after)))
        told += [found.name for found in page]
        if not after:
            break
    assert sorted(told) == names(storage, "*/*.csv") == ["a/10.csv", "a/9.csv", "b/1.csv", "b/2.csv"]
    assert [page for page, _ in storage.pages("nothing/*.csv")] == [[]]


def test_a_listing_is_in_the_order_of_names(storage):
    for name in ("b/2.csv", "b/1.csv", "a/9.csv", "a-b/1.csv", "a/10.csv"):
        storage.write(name, b"")
    assert names(storage, "*/*.csv") == sorted(["b/2.csv", "b/1.csv", "a/9.csv", "a-b/1.csv", "a/10.csv"])


def test_a_star_stays_within_a_folder(storage):
    for name in ("erp/orders/dt=1/orders.csv", "erp/orders/orders.csv", "erp/orders/dt=1/deep/orders.csv"):
        storage.write(name, b"")
    assert names(storage, "erp/orders/dt=*/orders.csv") == ["erp/orders/dt=1/orders.csv"]
    assert names(storage, "erp/*/*.csv") == ["erp/orders/orders.csv"]
    assert names(storage, "*") == []


def test_a_pattern_means_the_whole_name(storage):
    for name in ("orders.csv", "orders.csv.gz", "my_orders.csv", "Orders.csv"):
        storage.write(name, b"")
    assert names(storage, "orders.csv") == ["orders.csv"]
    assert names(storage, "*orders.csv") == ["my_orders.csv", "orders.csv"]


def test_what_is_unfinished_or_hidden_is_never_listed(storage):
    kept_out = ["a/.x.csv", "a/_SUCCESS", "a/x.csv.tmp", "a/x.csv.part", ".git/x.csv", "_staging/x.csv", "b.tmp/x.csv"]
    for name in [*kept_out, "a/x.csv", "a/my_x.csv"]:
        storage.write(name, b"")
    assert names(storage, "*/*") == ["a/my_x.csv", "a/x.csv"]
    assert names(storage, "a/.x.csv") == []
    assert names(storage, "_staging/*.csv") == ["_staging/x.csv"], "a folder that the pattern spells out is meant"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_listed_read_and_overwritten_like_any_other(storage, name):
    storage.write(f"in/{name}", b"first")
    storage.write(f"in/{name}", b"second")
    assert names(storage, "in/*.csv") == [f"in/{name}"]
    assert names(storage, f"in/{name}") == [f"in/{name}"]
    assert storage.read(f"in/{name}") == b"second"


def test_brackets_and_question_marks_in_a_pattern_stand_for_themselves(storage):
    for name in ("a.csv", "[ab].csv", "?.csv"):
        storage.write(name, b"")
    assert names(storage, "[ab].csv") == ["[ab].csv"]
    assert names(storage, "?.csv") == ["?.csv"]


def test_an_odd_folder_below_the_star_is_found(storage):
    storage.write("in/dt=[2011] ü'\"/orders.csv", b"x")
    assert names(storage, "in/dt=*/orders.csv") == ["in/dt=[2011] ü'\"/orders.csv"]


def test_a_listing_of_nothing_is_empty(storage):
    assert storage.files("nothing/here/*.csv") == []


def test_a_file_that_is_not_there_is_gone(storage):
    with pytest.raises(FileGone, match=r"a/gone\.csv is no longer in"):
        storage.read("a/gone.csv")


@pytest.mark.parametrize("name", ["../x.csv", "/etc/passwd", "a/../../x.csv", "", "a//b.csv", "./a.csv", "a/", "a\0b"])
def test_no_name_leads_out_of_the_storage(storage, name):
    with pytest.raises(Terminal, match="no name below"):
        storage.read(name)
    with pytest.raises(Terminal, match="no name below"):
        storage.write(name, b"")


@pytest.mark.parametrize("pattern", ["a/**/x.csv", "/a/*.csv", "../*.csv", "a//*.csv", ""])
def test_a_pattern_that_cannot_be_meant_is_refused(storage, pattern):
    with pytest.raises(DeclarationError, match="pattern"):
        storage.files(pattern)


def test_a_listing_of_more_than_one_page_is_whole(storage):
    for number in range(120):
        storage.write(f"many/{number:05}.csv", b"")
    assert names(storage, "many/*.csv") == [f"many/{number:05}.csv" for number in range(120)]


def test_deltalake_and_polars_open_the_same_address(storage):
    place = storage.address("silver", "orders")
    frame = pl.DataFrame({"order_no": ["536365", "C536379"], "qty": [6, -1]})
    frame.write_delta(place.uri, storage_options=dict(place.options), mode="error")
    table = DeltaTable(place.uri, storage_options=dict(place.options))
    (data,) = storage.files("silver/orders/*.parquet")  # the table's file, where the storage says
    file = f"{place.uri}/{data.name.rpartition('/')[2]}"
    read = pl.read_parquet(file, storage_options=dict(place.options), glob=False)
    assert table.version() == 0
    assert read.equals(frame)
    assert (storage.address("silver") / "orders").uri == storage.uri("silver", "orders") == place.uri


def test_a_file_that_is_overwritten_bears_a_later_time(storage):
    storage.write("a.csv", b"1")
    (first,) = storage.files("a.csv")
    time.sleep(1.1)  # Azure says whole seconds
    storage.write("a.csv", b"2")
    (second,) = storage.files("a.csv")
    assert second.modified_at > first.modified_at


def test_a_new_table_is_proposed_of_files_in_either(storage):
    storage.write("crm/dt=2024-05-01/c.csv", b"customer_id,country\n1,France\n2,Spain\n")
    storage.write("crm/dt=2024-05-02/c.csv", b"customer_id,country\n1,France\n2,Italy\n3,Spain\n")
    made = new_table(storage, Asked("crm/dt=*/*.csv", "crm", "customers"))
    assert (made.records, made.trouble) == (5, [])
    assert (
        'source=Snapshots("crm/dt=*/*.csv", formats=Csv(), valid_at="dt")'
        in made.files["lakehouse/tables/bronze/crm.py"]
    )
    with pytest.raises(WrongUsage, match="is called 'crm/nothing'"):
        new_table(storage, Asked("crm/nothing", "crm"))


def test_a_folder_goes_with_all_that_it_holds(storage):
    for name in ("a/b/x.parquet", "a/b/_log/0.json", "a/b2/y.parquet", "a/c.txt"):
        storage.write(name, b"1")
    assert storage.folders("a") == ["b", "b2"]
    storage.remove("a", "b")
    storage.remove("a", "b")
    assert storage.folders("a") == ["b2"]
    assert storage.read("a/b2/y.parquet") == b"1"
    assert storage.folders("nothing", "here") == []
