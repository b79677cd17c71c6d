"""Packed files become bytes, whole or not at all."""

from __future__ import annotations

import gzip
import io
import zlib

from lakehouse.engine.declare.errors import Terminal

__all__ = ["Unreadable", "unpack"]

PIECE_BYTES = 1 << 20


class Unreadable(Terminal):
    """A landed file cannot be read as what its name says it is; `what` is wrong with it."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what
        super().__init__(f"{name} cannot be read: {what}. Nothing of it was taken; have its source send it again.")


def unpack(name: str, content: bytes, limit: int = 1 << 30) -> bytes:
    """The bytes that `content` holds: gunzipped (any number of members) if `name` ends in .gz, else as they are.

    `limit` is in unpacked bytes and holds while unpacking, so a small bomb costs no more than that. Zeros after the
    last member are padding, as gzip(1) has it. Raises Unreadable: cut off, corrupt, over the limit, or followed by
    other bytes.
    """
    if not name.lower().endswith(".gz"):
        return content
    if not content:
        raise Unreadable(name, "the file is empty, and so not even an empty gzip file")
    try:
        return b"".join(_pieces(name, content, limit))
    except EOFError as cut:
        raise Unreadable(name, f"gzip data is cut off after {len(content):,} bytes") from cut
    except (gzip.BadGzipFile, zlib.error) as broken:
        raise Unreadable(name, f"gzip data is corrupt or followed by other bytes ({broken})") from broken


def _pieces(name: str, content: bytes, limit: int) -> list[bytes]:
    pieces: list[bytes] = []
    room = limit
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while piece := file.read(PIECE_BYTES):
            room -= len(piece)
            if room < 0:
                raise Unreadable(name, f"it unpacks to more than the limit of {limit:,} bytes")
            pieces.append(piece)
    return pieces
