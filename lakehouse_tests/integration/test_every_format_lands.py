"""One file of every format in every packing lands on a disk and in Azurite: the stored tables are equal."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, column
from lakehouse.engine.declare.dtypes import Gbp, Utc
from lakehouse.engine.declare.formats import Avro, Csv, Excel, Format, Json, JsonLines, Parquet
from lakehouse.engine.declare.frames import Frame
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import declare
from lakehouse.engine.declare.text import local_time
from lakehouse.engine.declare.write import Append
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.bronze import land
from lakehouse_tests.azurite import A_KEY, Azurite
from lakehouse_tests.driver import red
from lakehouse_tests.making import PACKINGS, file_of
from resources.adls import Adls
from resources.local_disk import LocalDisk

FORMATS: list[Format] = [Excel(), Parquet(), Avro(), Csv(), Json(), JsonLines()]


class Sale(Bronze):
    """One row per sale."""

    id: int = column("Number of the sale")
    price: Gbp = column("What was paid")
    seen: Utc = column("When it was written down", text=local_time("Europe/London"))
    note: str = column("What the clerk wrote", nullable=True)


def sale() -> Frame[Sale]: ...


SALE = declare(sale, write=Append(), source=Files("in/*", formats=FORMATS, settle=dt.timedelta(0)))
SALES = [
    {
        "id": n,
        "price": Decimal(n) / 4,
        "seen": dt.datetime.fromisoformat("2024-07-01T09:30:15"),
        "note": "£",
        "new": "x",
    }
    for n in range(200)
]


def landed(place: Place, files: dict[str, bytes]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The bronze table and its quarantine after one batch of these files."""
    for name, content in files.items():
        place.landing.write(name, content)
    work = land(SALE, place)
    assert work.delivery is not None
    assert red(work) == {"files_are_readable": "ERROR"}
    deliver(work.delivery)
    handle = Handle.open(place.table(SALE))
    assert handle is not None
    aside = quarantine.read(handle, place.quarantine(SALE)).collect()
    return handle.scan().collect(), aside.select("source_file", "kind", "reasons")


@pytest.mark.azurite
def test_every_format_and_packing_lands_alike_on_a_disk_and_in_a_container(
    azurite: Azurite, new_container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("A_KEY", azurite.key)

    def container() -> Adls:
        return Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint)

    files = {
        f"in/{form}{packing}": pack(file_of(form, *SALES)) for form in FORMATS for packing, pack in PACKINGS.items()
    }
    torn = {name.replace("in/", "in/torn "): files[name][:-9] for name in files if not name.endswith(")")}
    disk = landed(Place(LocalDisk(path=f"{tmp_path}/lake"), LocalDisk(path=f"{tmp_path}/landing")), files | torn)
    cloud = landed(Place(container(), container()), files | torn)
    assert disk[0].equals(cloud[0])
    assert disk[1].equals(cloud[1])
    assert dict(disk[0]["source_file"].value_counts().iter_rows()) == dict.fromkeys(files, len(SALES))
    assert set(disk[1]["source_file"]) == torn.keys()
    assert set(disk[0]["extra"].fill_null("")) == {'{"/new":"x"}'}
