"""Packed files become bytes, whole or not at all."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from typing import IO

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.number import number

__all__ = ["Unreadable", "unpack"]

PIECE_BYTES = 1 << 20
_ENCRYPTED = 1
# zipfile does not catch what its parts make of bytes that are no zip: a place before the file is a ValueError
_BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError, struct.error,
)  # fmt: skip


class Unreadable(Terminal):
    """A landed file cannot be read as what its name says it is; `what` is wrong with it."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what
        super().__init__(f"{name} cannot be read: {what}. Nothing of it was taken; have its source send it again.")


def unpack(name: str, content: bytes, limit: int = 1 << 30) -> bytes:
    """The bytes that `content` holds: unpacked if `name` ends in .gz (any number of members) or .zip (of one file).

    `limit` is in unpacked bytes and holds while unpacking, so a small bomb costs no more than that. Zeros after the
    last member of a .gz are padding, as gzip(1) has it. Raises Unreadable: cut off, corrupt, over the limit, followed
    by other bytes, or of a kind that is not read.
    """
    match name.lower().rpartition(".")[2]:
        case "gz":
            return _gunzipped(name, content, limit)
        case "zip":
            return _unzipped(name, content, limit)
        case _:
            return content


def _gunzipped(name: str, content: bytes, limit: int) -> bytes:
    if not content:
        raise Unreadable(name, "the file is empty, and so not even an empty gzip file")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return b"".join(_pieces(name, file, limit))
    except EOFError as cut:
        raise Unreadable(name, f"gzip data is cut off after {len(content):,} bytes") from cut
    except (gzip.BadGzipFile, zlib.error) as broken:
        raise Unreadable(name, f"gzip data is corrupt or followed by other bytes ({broken})") from broken


def _unzipped(name: str, content: bytes, limit: int) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [each for each in archive.infolist() if not each.is_dir()]
            if len(inside) != 1:
                names = ", ".join(repr(each.filename) for each in inside[:5])
                raise Unreadable(name, f"the zip holds {number(len(inside), 'file')}, expected one ({names})")
            if inside[0].flag_bits & _ENCRYPTED:
                raise Unreadable(name, "the file in the zip is encrypted")
            with archive.open(inside[0]) as file:
                return b"".join(_pieces(name, file, limit))
    except _BROKEN_ZIP as broken:
        raise Unreadable(name, f"the zip is cut off, corrupt or of an unknown kind ({broken})") from broken


def _pieces(name: str, file: io.BufferedIOBase | IO[bytes], limit: int) -> list[bytes]:
    pieces: list[bytes] = []
    room = limit
    while piece := file.read(PIECE_BYTES):
        room -= len(piece)
        if room < 0:
            raise Unreadable(name, f"it unpacks to more than the limit of {limit:,} bytes")
        pieces.append(piece)
    return pieces
