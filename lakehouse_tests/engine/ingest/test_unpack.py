"""Unpacking: whole or not at all, and never more than the limit."""

import gzip
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.formats import Excel, Limits
from lakehouse.engine.ingest.excel_records import opened
from lakehouse.engine.ingest.misfit import OverLimit
from lakehouse.engine.ingest.unpack import Unreadable, unpack
from lakehouse_tests.making import workbook, zipped

PACKED = gzip.compress(b"one line\n" * 1000)


def test_a_file_that_is_not_named_gz_passes_through():
    assert unpack("orders.jsonl", PACKED) is PACKED


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=5))
def test_all_members_are_unpacked_in_order(parts: list[bytes]):
    assert unpack("a.jsonl.gz", b"".join(map(gzip.compress, parts))) == b"".join(parts)


def test_the_ending_may_be_in_capitals():
    assert unpack("ORDERS.JSONL.GZ", PACKED) == b"one line\n" * 1000


KINDS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
TEXT = b"code,name\n" + bytes(range(256)) * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_zip_of_one_file_is_unpacked_whatever_it_is_called_in_there(kind: int):
    assert unpack("a.zip", zipped(("folder/", b""), ("../b.csv", TEXT), kind=kind)) == TEXT
    assert unpack("a.ZIP", zipped(("b.csv", b""), kind=kind)) == b""


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([], "the zip holds 0 files, expected one"),
        ([("a.csv", b"1"), ("b.csv", b"2")], r"the zip holds 2 files, expected one \('a\.csv', 'b\.csv'\)"),
    ],
)
def test_a_zip_of_none_or_several_files_is_unreadable(files: list[tuple[str, bytes]], why: str):
    with pytest.raises(Unreadable, match=why):
        unpack("a.zip", zipped(*files))


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_and_no_flipped_byte_of_a_zip_gives_other_content(kind: int):
    packed = zipped(("b.csv", TEXT), kind=kind)
    for length in range(len(packed)):
        with pytest.raises(Unreadable):
            unpack("a.zip", packed[:length])
    came = 0
    for place in range(len(packed)):
        odd = bytearray(packed)
        odd[place] ^= 0xFF
        try:
            assert unpack("a.zip", bytes(odd)) == TEXT  # times and rights are no content
            came += 1
        except Unreadable:
            pass
    assert came < 90  # two headers


def test_a_zip_bomb_costs_no_more_than_the_limit():
    with pytest.raises(OverLimit, match="unpacks to more than the limit of 1,000,000 \\(Limits"):
        unpack("a.zip", zipped(("b", bytes(10_000_000))), limits=Limits(unpacked_bytes=1_000_000))


def test_every_cut_through_a_packed_file_is_unreadable():
    for length in range(len(PACKED)):
        with pytest.raises(Unreadable, match=r"erp/orders\.gz cannot be read: .*(cut off|empty|corrupt)"):
            unpack("erp/orders.gz", PACKED[:length])


def test_a_cut_through_the_second_member_is_unreadable():
    for length in range(1, len(PACKED)):
        with pytest.raises(Unreadable):
            unpack("a.gz", PACKED + PACKED[:length])


def test_every_flipped_byte_of_data_or_trailer_is_unreadable():
    for place in range(10, len(PACKED)):  # the header's first ten bytes say nothing about the content
        flipped = PACKED[:place] + bytes([PACKED[place] ^ 0x55]) + PACKED[place + 1 :]
        with pytest.raises(Unreadable, match=r"a\.gz cannot be read"):
            unpack("a.gz", flipped)


@pytest.mark.parametrize("tail", [b"x", b"\n", b"{}", b"\0\0garbage", b"\x1f", b"\x1f\x8b"])
def test_other_bytes_after_the_last_member_are_unreadable(tail: bytes):
    with pytest.raises(Unreadable):
        unpack("a.gz", PACKED + tail)


def test_zeros_after_the_last_member_are_padding():
    assert unpack("a.gz", PACKED + bytes(512)) == unpack("a.gz", PACKED)


def test_a_file_that_is_not_gzip_at_all_is_unreadable():
    with pytest.raises(Unreadable, match="corrupt"):
        unpack("a.gz", b'{"order_no":"1"}\n')


def test_the_limit_is_the_last_size_that_passes():
    assert len(unpack("a.gz", PACKED, limits=Limits(unpacked_bytes=9000))) == 9000
    with pytest.raises(OverLimit, match="more than the limit of 8,999 \\(Limits"):
        unpack("a.gz", PACKED, limits=Limits(unpacked_bytes=8999))


def test_a_bomb_costs_about_the_limit_and_not_its_size():
    bomb = gzip.compress(bytes(200 << 20), compresslevel=9)
    tracemalloc.start()
    try:
        with pytest.raises(OverLimit, match="limit"):
            unpack("bomb.gz", bomb, limits=Limits(unpacked_bytes=10 << 20))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_an_unreadable_file_is_terminal_and_names_file_and_fault():
    with pytest.raises(Terminal) as error:
        unpack("erp/a.gz", PACKED[:-3])
    assert isinstance(error.value, Unreadable)
    assert error.value.name == "erp/a.gz"
    assert str(error.value) == (
        f"erp/a.gz cannot be read: gzip data is cut off after {len(PACKED) - 3:,} bytes. "
        "Nothing of it was taken; have its source send it again."
    )


@pytest.mark.parametrize("inside", ["a.csv", "../a.csv", "../../a.csv", "{}/a.csv", "..\\..\\a.csv", "a\x1b[2J.csv"])
def test_nothing_of_a_zip_is_ever_written_to_a_disk(inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here = tmp_path / "deep/deeper"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(here))
    assert unpack("a.zip", zipped((inside.format(tmp_path), TEXT))) == TEXT
    opened(workbook(["n"], [1]), Excel(), [Column("n", pl.String())], Limits())
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
