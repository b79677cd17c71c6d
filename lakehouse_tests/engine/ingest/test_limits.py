"""Limits hold before a file is parsed: a bomb is set aside whole, named, and costs no more memory than it may."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from lakehouse.engine.declare.contract import Bronze, column
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.formats import Csv, Format, Json, JsonLines, Limits
from lakehouse.engine.declare.frames import Frame
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append
from lakehouse.engine.ingest.misfit import Misfit, foreign
from lakehouse_tests.driver import House, red
from lakehouse_tests.making import PACKINGS

GIB = 1 << 30

BOMB = """
import gzip, io, json, resource, sys, zipfile
import zstandard
from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.ingest.misfit import OverLimit
from lakehouse.engine.ingest.unpack import unpack

packing, limits = sys.argv[1], Limits(**json.loads(sys.argv[2]))
zeros, out = bytes(1 << 20), io.BytesIO()
if packing == "gz":  # of many members, so that its last bytes do not say what it holds
    out.write(gzip.compress(zeros) * 1024)
elif packing == "zst":
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as file:
        for _ in range(1024):
            file.write(zeros)
else:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.csv", "w") as file:
        for _ in range(1024):
            file.write(zeros)
packed = out.getvalue()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    said = str(len(unpack("bomb." + packing, packed, limits)))
except OverLimit as why:
    said = str(why)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"packed": len(packed), "said": said, "grew": (after - before) * 1024}))
"""


class Sold(Bronze):
    """One row per sale."""

    id: int = column("Number of the sale")


def sold() -> Frame[Sold]: ...


def table(form: Format | list[Format], limits: Limits | None = None) -> Declaration:
    files = Files("in/*", formats=form, settle=timedelta(0), limits=limits or Limits())
    return declare(sold, write=Append(), source=files)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("packing", ["gz", "zip", "zst"])
@pytest.mark.parametrize("limits", [{}, {"ratio": 10**9, "unpacked_bytes": 100 << 20}])
def test_a_bomb_of_a_gibibyte_costs_what_the_limits_allow(packing: str, limits: dict[str, int]):
    child = subprocess.run(
        [sys.executable, "-c", BOMB, packing, json.dumps(limits)], capture_output=True, text=True, check=True
    )
    told = json.loads(child.stdout)
    allowed = limits.get("unpacked_bytes") or max(16 << 20, 200 * told["packed"])
    assert told["grew"] < 1.3 * allowed + (40 << 20), told
    assert told["grew"] < GIB // 3, told
    assert ("more than the limit of 104,857,600 (Limits.unpacked_bytes)" if limits else "(Limits.ratio)") in told[
        "said"
    ]


def test_a_bomb_is_set_aside_whole_with_limit_finding_and_way_out_and_taken_once_it_is_allowed(house: House):
    rows = b"id\n" + b"1\n" * 9_000_000
    house.land("in/a.csv.gz", PACKINGS[".gz"](rows))
    house.land("in/b.csv", b"id\n2\n")
    work = house.run(table(Csv()))
    assert red(work) == {"files_are_readable": "ERROR"}
    size = house.file("in/a.csv.gz").stat().st_size
    reason = house.ledger(table(Csv()))["reason"][0]
    assert reason.startswith(f"in/a.csv.gz cannot be read: {size:,} bytes unpack to ")
    assert reason.endswith(
        "times as many, more than the limit of 200 (Limits.ratio). Nothing of it was taken; where it is meant, "
        "Files(…, limits=Limits(ratio=…)), then: lakehouse reingest bronze/sold --files in/a.csv.gz"
    )
    assert house.rows(table(Csv()))["id"].to_list() == ["2"]
    wider = table(Csv(), Limits(ratio=2_000))
    house.run(wider, reingest="in/a.csv.gz")
    assert house.rows(wider).height == 9_000_001
    house.assert_counts_add_up(wider)


def test_a_file_that_is_too_large_as_it_lies_is_not_even_read(house: House, monkeypatch: pytest.MonkeyPatch):
    declared = table(Csv(), Limits(unpacked_bytes=100))
    house.land("in/a.csv", b"id\n" + b"1\n" * 100)
    house.land("in/b.csv", b"id\n2\n")
    read = list[str]()
    storage = type(house.place.landing)
    reads = storage.read
    monkeypatch.setattr(storage, "read", lambda self, name: read.append(name) or reads(self, name))
    work = house.work(declared)  # planned and not applied, as after a crash
    assert (read, work.facts["files_unreadable"]) == (["in/b.csv"], 1)
    house.drain(declared)
    assert house.states(declared) == [("in/a.csv", "unreadable"), ("in/b.csv", "accepted")]
    assert "it has 203 bytes, more than the limit of 100 (Limits.unpacked_bytes)" in house.ledger(declared)["reason"][0]
    assert set(read) == {"in/b.csv"}
    house.run(declared, rebuild=True)
    house.assert_counts_add_up(declared)
    house.run(table(Csv()), reingest="in/a.csv")
    assert house.rows(table(Csv())).height == 101


@pytest.mark.parametrize(
    ("form", "content", "kept", "said"),
    [
        (JsonLines(), b'{"id":1}\n{"id":"123456789012345678"}\n', ["1"], "the line has 27 bytes"),
        (Json(), b'[{"id":1},{"id":"123456789012345678"}]', ["1"], "the line has 27 bytes"),
        (Csv(), b'id\n1\n"12345678901\n123456789012345678901234"\n3\n', ["1", "3"], "a line of it has 26 bytes"),
        (Csv(), b"id\r\n1\r\n123456789012345678901\r\n", ["1"], "a line of it has 23 bytes"),
    ],
)
def test_a_line_over_the_limit_costs_its_record_only(
    house: House, *, form: Format, content: bytes, kept: list[str], said: str
):
    declared = table(form, Limits(line_bytes=20))
    house.land("in/a", content)
    house.run(declared)
    assert house.rows(declared)["id"].to_list() == kept
    ((why,),) = house.set_aside(declared)["reasons"].to_list()
    assert why == f"{said}, more than the limit of 20 (Limits.line_bytes)"
    house.assert_counts_add_up(declared)


def test_a_limit_below_one_is_refused_at_load():
    with pytest.raises(DeclarationError, match=r"Limits\(ratio=0\): a limit is at least 1"):
        Limits(ratio=0)


@pytest.mark.parametrize(
    "lacking", [MemoryError(), OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "")]
)
def test_what_the_machine_lacks_is_not_told_of_the_file(lacking):
    with pytest.raises(type(lacking)), foreign("a Parquet file"):
        raise lacking
    with pytest.raises(Misfit, match="is not a Parquet file"), foreign("a Parquet file"):
        raise OSError("magic bytes")
