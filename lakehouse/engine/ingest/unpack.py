"""Packed files become bytes, whole or not at all, and never more than the limits allow."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import IO

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.declare.number import number
from lakehouse.engine.ingest.misfit import OverLimit

__all__ = ["Unreadable", "refuse_large", "unpack", "within"]

PIECE_BYTES = 1 << 20
RATIO_FROM = 16 << 20  # unpacked bytes; what is smaller costs nothing, whatever it was packed into
_ZSTD_AT_ONCE = 1 << 10  # packed bytes; four of them may hold 128 KiB
_LIMITS = Limits()
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


def refuse_large(size: int, limits: Limits) -> None:
    """Raises OverLimit for a file that is too large as it lies; known before it is read."""
    if size > limits.unpacked_bytes:
        raise OverLimit(f"it has {size:,} bytes, more than", "unpacked_bytes", limits.unpacked_bytes)


def unpack(name: str, content: bytes, limits: Limits = _LIMITS) -> bytes:
    """The bytes that `content` holds: unpacked if `name` ends in .gz or .zst (any number of parts), or .zip (one file).

    Unpacking ends where a limit is passed, so a small bomb costs no more than that. Zeros after the last member of a
    .gz are padding, as gzip(1) has it. Raises Unreadable (cut off, corrupt, followed by other bytes, or of a kind that
    is not read) and OverLimit.
    """
    refuse_large(len(content), limits)
    ways: dict[str, Callable[[str, bytes], Iterator[bytes]]] = {"gz": _gunzipped, "zip": _unzipped, "zst": _unzstd}
    way = ways.get(name.lower().rpartition(".")[2])
    if way is None:
        return content
    whole = io.BytesIO()  # gives its bytes without another copy of them
    for piece in within(way(name, content), len(content), limits):
        whole.write(piece)
    return whole.getvalue()


def within(pieces: Iterable[bytes], packed: int, limits: Limits) -> Iterator[bytes]:
    """The pieces, until together they are over a limit: then OverLimit. `packed` is in bytes."""
    most = max(RATIO_FROM, limits.ratio * packed)
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limits.unpacked_bytes:
            raise OverLimit("it unpacks to more than", "unpacked_bytes", limits.unpacked_bytes)
        if size > most:
            said = f"{packed:,} bytes unpack to {size:,} and more, {size // packed} times as many, more than"
            raise OverLimit(said, "ratio", limits.ratio)
        yield piece


def _gunzipped(name: str, content: bytes) -> Iterator[bytes]:
    if not content:
        raise Unreadable(name, "the file is empty, and so not even an empty gzip file")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            yield from _pieces(file)
    except EOFError as cut:
        raise Unreadable(name, f"gzip data is cut off after {len(content):,} bytes") from cut
    except (gzip.BadGzipFile, zlib.error) as broken:
        raise Unreadable(name, f"gzip data is corrupt or followed by other bytes ({broken})") from broken


def _unzipped(name: str, content: bytes) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [each for each in archive.infolist() if not each.is_dir()]
            if len(inside) != 1:
                names = ", ".join(repr(each.filename) for each in inside[:5])
                raise Unreadable(name, f"the zip holds {number(len(inside), 'file')}, expected one ({names})")
            if inside[0].flag_bits & _ENCRYPTED:
                raise Unreadable(name, "the file in the zip is encrypted")
            with archive.open(inside[0]) as file:
                yield from _pieces(file)
    except _BROKEN_ZIP as broken:
        raise Unreadable(name, f"the zip is cut off, corrupt or of an unknown kind ({broken})") from broken


def _unzstd(name: str, content: bytes) -> Iterator[bytes]:
    """Frame by frame: the library's own streams take a frame that is cut off for a whole one."""
    import zstandard

    if not content:
        raise Unreadable(name, "the file is empty, and so not even an empty zstd file")
    frame = None
    try:
        for start in range(0, len(content), _ZSTD_AT_ONCE):
            rest = content[start : start + _ZSTD_AT_ONCE]
            while rest:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(rest)
                rest = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
    except zstandard.ZstdError as broken:
        raise Unreadable(name, f"zstd data is corrupt or followed by other bytes ({broken})") from broken
    if frame is not None:
        raise Unreadable(name, f"zstd data is cut off after {len(content):,} bytes")


def _pieces(file: io.BufferedIOBase | IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.read, PIECE_BYTES), b"")
