"""Made-up secrets, and where any of them is found again: as it is, as Base64, in a URL or JSON, whole or a piece."""

from __future__ import annotations

import base64
import json
import re
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, quote_plus

PIECE = 12
"""So many characters in a row are a piece that nobody meets by chance."""
_STRIDE = PIECE // 2  # a piece holds one whole block of this size, wherever it begins


@dataclass(frozen=True)
class Canary:
    """One made-up secret, by the name of what it opens."""

    name: str
    secret: str = field(repr=False)

    @cached_property
    def forms(self) -> list[bytes]:
        """How it may be spelled; each once."""
        plain = self.secret.encode()
        coded = [base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4] for shift in range(3)]
        texts = [quote(self.secret, safe=""), quote_plus(self.secret), json.dumps(self.secret)[1:-1]]
        return [*dict.fromkeys([plain, *(each.encode() for each in texts), *coded, plain.hex().encode()])]

    def pieces_in(self, content: bytes) -> list[str]:
        """The text around each place where a piece of it stands."""
        return [around for form in self.forms for around in _pieces(form, content)]


def _pieces(form: bytes, content: bytes) -> Iterator[str]:
    for start in range(0, len(form) - _STRIDE + 1, _STRIDE):
        for hit in re.finditer(re.escape(form[start : start + _STRIDE]), content):
            if _length(form, content, start, hit.start()) >= min(PIECE, len(form)):
                yield content[max(0, hit.start() - 100) : hit.end() + 60].decode(errors="replace")
                break


def _length(form: bytes, content: bytes, in_form: int, in_content: int) -> int:
    """Of the longest common text around a place that both share."""
    before = after = 0
    while in_form - before and in_content - before and form[in_form - before - 1] == content[in_content - before - 1]:
        before += 1
    rest = zip(form[in_form:], content[in_content : in_content + len(form)], strict=False)
    for one, other in rest:
        if one != other:
            break
        after += 1
    return before + after


def key(name: str) -> Canary:
    """As a storage account's keys are: Base64 of 64 bytes."""
    return Canary(name, base64.b64encode(secrets.token_bytes(64)).decode())


def word(name: str, prefix: str = "", rest: str = "") -> Canary:
    """Text as those of applications are, with signs that a URL and JSON spell otherwise."""
    return Canary(name, f'{prefix}{secrets.token_urlsafe(12)}"/{secrets.token_urlsafe(12)}{rest}')


def finds(canaries: Iterable[Canary], said: Mapping[str, bytes]) -> list[str]:
    """A line for each canary and each place in which it stands."""
    all_of_it = b"\0".join(said.values())
    return [
        f"{canary.name} in {place}: …{found[0]}…"
        for canary in canaries
        if canary.pieces_in(all_of_it)
        for place, content in said.items()
        if (found := canary.pieces_in(content))
    ]


def all_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name: its bytes, and what SQLite and zlib hold of text in it."""
    found: dict[str, bytes] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            name = str(file.relative_to(folder))
            found[name] = content = file.read_bytes()
            if content.startswith(b"SQLite format 3\0"):
                found[f"{name} (rows)"] = b"\n".join(_cells(file))
            if content[:4] == b"PAR1":
                found[f"{name} (rows)"] = rows_of(content)
    return found


def rows_of(parquet: bytes) -> bytes:
    """What a Parquet file holds, which is compressed in it, as text."""
    import polars as pl

    return pl.read_parquet(parquet).write_ndjson().encode()


def _cells(file: Path) -> Iterator[bytes]:
    """What stands in a database, also what is only in its write-ahead log; Dagster compresses its snapshots."""
    with closing(sqlite3.connect(f"file:{file}", uri=True)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    yield from _text(value)


def rows_in_postgres(url: str) -> bytes:
    """What stands in all tables of a database, as the one who is named in the URL sees it."""
    import psycopg2

    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        found = list[bytes]()
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{table}"')
            found += [text for row in cursor for value in row for text in _text(value)]
    return b"\n".join(found)


def _text(value: object) -> Iterator[bytes]:
    if isinstance(value, memoryview):  # psycopg2's bytes
        value = bytes(value)
    if isinstance(value, str | dict | list):
        yield str(value).encode()
    if isinstance(value, bytes):
        yield value
        try:
            yield zlib.decompress(value)
        except zlib.error:
            return
