"""What was found with nothing due, and where all stood that this hangs on: kept on this machine, never in the lake.

Where everything stands as it stood then, nothing is due again, and no table need be opened to know it. One listing says
where a table stands: the file of its newest commit, with the size, time and etag that the store gives it. A table that
was deleted and made anew, or put back, has another one. What is judged by other code is judged anew.

To lose this file costs time and nothing else; two processes that write it both write what is true.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Found, Storage
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.place import LOG

LEDGERS = "ledger"
BATCHES_TOGETHER = 1_000
"""Ledgers of fewer batches are listed at once: of each batch a commit and a file of rows lie there, 5,000 in an answer.
"""

type _Path = tuple[str, ...]


class Remembered:
    """Kept in `file`; without one, as long as the process lives."""

    def __init__(self, place: Place, file: Path | None = None) -> None:
        self._place, self._file = place, file
        self._versions, self._not_due = self._read()
        self._tips: dict[_Path, Found | None] = {}
        self._landed: dict[str, Sequence[Found]] = {}

    def look(self, tables: Sequence[Declaration], workers: Executor) -> None:
        """List each table, each source, and all ledgers at once while these are small.

        To be done before a table is opened, so that what is judged is never older than what is kept of it.
        """
        paths = list(dict.fromkeys(path for each in tables for path in _hangs_on(each)))
        ledgers = [path for path in paths if path[0] == LEDGERS]
        batches = sum(self._versions.get(self._name(path), BATCHES_TOGETHER) or 0 for path in ledgers)
        together = ledgers if batches < BATCHES_TOGETHER else []
        apart = [path for path in paths if path not in together]
        near = [self._versions.get(self._name(path)) for path in apart]
        sources = {each.key: each for each in tables if each.source is not None}
        landed = workers.map(self._files, sources.values())
        tips = workers.map(partial(_tip, self._place.lake), apart, near)
        self._tips = _tips(self._place.lake, together) | dict(zip(apart, tips, strict=True))
        self._landed = dict(zip(sources, landed, strict=True))
        self._versions |= {self._name(path): _version(tip) for path, tip in self._tips.items()}

    def version(self, declared: Declaration) -> int | None:
        """At which the last look saw the table; None where there is none."""
        return _version(self._tips[_of(declared)])

    def landed(self, declared: Declaration) -> Sequence[Found] | None:
        """The files of its source that the last look saw."""
        return self._landed.get(declared.key)

    def holds(self, declared: Declaration) -> bool:
        """Whether all stands as it did when nothing was due."""
        if self._place.behind is not None:  # which is not looked at
            return False
        was_seen = self._tips.keys() >= set(_hangs_on(declared))
        return was_seen and self._not_due.get(self._name(_of(declared))) == self._digest(declared)

    def keep(self, not_due: Iterable[Declaration]) -> None:
        """That there is nothing to do for these tables, nor to tell of them, while all stands as it was last seen."""
        self._not_due |= {self._name(_of(each)): self._digest(each) for each in not_due}
        if self._file is None:
            return
        versions, found = self._read()  # of another lake, or by another process meanwhile
        text = json.dumps({"versions": versions | self._versions, "not due": found | self._not_due}, indent=1)
        with suppress(OSError):
            part = self._file.with_suffix(f".{secrets.token_hex(8)}.tmp")
            part.write_text(text, encoding="utf-8")
            part.replace(self._file)

    def _files(self, declared: Declaration) -> Sequence[Found]:
        return self._place.landing_of(declared).files(declared.source.pattern) if declared.source else ()

    def _read(self) -> tuple[dict[str, int | None], dict[str, str]]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8")) if self._file else {}
            return dict(kept["versions"]), dict(kept["not due"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}, {}

    def _name(self, path: _Path) -> str:
        return "/".join([str(self._place.lake.address()).rstrip("/"), *path])

    def _digest(self, declared: Declaration) -> str:
        """Of all that it hangs on whether the table is due: its code, what it reads, how it stands, what has landed."""
        divided = declared.partitions
        said = (
            _engine(),
            (declared.key, declared.logic, declared.source, [read.upstream.key for read in declared.reads]),
            str(self._place.landing_of(declared).address()),
            divided and divided.slices(divided.keys(), declared.slice_columns, declared.schema).rows(),
            [self._tips[each] for each in _hangs_on(declared)],
            self._landed.get(declared.key),
        )
        return hashlib.sha256(repr(said).encode()).hexdigest()


@cache
def _engine() -> str:
    """By what code it is judged whether something is due."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _of(declared: Declaration) -> _Path:
    return (declared.layer, declared.name)


def _hangs_on(declared: Declaration) -> list[_Path]:
    """The Delta tables that are asked whether the table is due: itself, what it reads, the ledger of its source."""
    ledger = [(LEDGERS, *_of(declared))] if declared.is_bronze else []
    return [_of(declared), *ledger, *(_of(read.upstream) for read in declared.reads)]


def _version(tip: Found | None) -> int | None:
    return None if tip is None else int(tip.name.rpartition("/")[2].removesuffix(".json"))


def _tip(lake: Storage, path: _Path, near: int | None) -> Found | None:
    """The newest commit of a table; None where there is none.

    Where it stood at `near`, only what begins as this version and the next do is listed: the one says whether it is
    still this table, the other whether somebody has gone on. If that does not tell, all of its log is.
    """
    head = "" if near is None else f"{near:020d}".rstrip("9")[:-1]
    tip = _newest(lake.files("/".join([*path, LOG, f"{head}*.json"])))
    told = tip is not None and f"{int(_version(tip) or 0) + 1:020d}".startswith(head)
    return tip if told or not head else _tip(lake, path, None)


def _tips(lake: Storage, paths: Sequence[_Path]) -> dict[_Path, Found | None]:
    """The same of ledgers, by one listing of them all."""
    if not paths:
        return {}
    found = lake.files(f"{LEDGERS}/*/*/{LOG}/*.json")
    folders = {path: "/".join([*path, LOG, ""]) for path in paths}
    return {path: _newest([each for each in found if each.name.startswith(folders[path])]) for path in paths}


def _newest(files: Sequence[Found]) -> Found | None:
    commits = [each for each in files if each.name.rpartition("/")[2].removesuffix(".json").isdigit()]
    return max(commits, key=lambda each: each.name, default=None)
