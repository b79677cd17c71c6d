"""A proposal → the tests of its table files: real records of the files, drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from lakehouse.engine.declare.table import Declaration
from lakehouse.propose.written import WIDTH, comment, imported, is_plain, shown

__all__ = ["bronze_spec", "silver_spec"]

_CHOSEN_FROM = 250
_LONGEST = WIDTH - 8
_NULL, _EMPTY, _UNDRAWN = "-", "''", ""
_FILE, _ROW = "source_file", "source_row"


@dataclass(frozen=True)
class _Drawn:
    """Records as they were sent and as they read, in the same columns, and where they stand."""

    names: Sequence[str]
    sent: Sequence[Sequence[str]]
    read: Sequence[Sequence[str]]
    places: Sequence[str]


def bronze_spec(declared: Declaration, sent: pl.DataFrame, read: pl.DataFrame) -> str:
    """Tests that some records read as they were sent: their plain columns, and each nested one by itself.

    `sent` and `read` hold the same records in the same order: as text, and typed.
    """
    sent, read = _ends(sent), _ends(read)
    contract = declared.contract.__name__
    lines = ["from lakehouse.engine.quality.typed import typed"]
    lines += imported(f"lakehouse.tables.bronze.{declared.name}", {contract, declared.name})
    lines += [*imported("lakehouse_tests.drawing", {"assert_rows", "rows_sent"})]
    flat = [name for name, dtype in declared.schema.items() if not dtype.is_nested()]
    nested = [(name, _nested(name, sent, read)) for name in declared.schema if name not in flat]
    tests = [("a_record", _plain(declared, flat, sent, read))] if flat else []
    tests += [(f"what_{name}_holds", one) for name, one in nested if one]
    tests = tests or [("a_record", _some_nested(declared, sent, read))]
    for name, drawn in tests:
        lines += ["", "", f"def test_{name}_reads_as_it_was_sent() -> None:", *comment(drawn.places, 4)]
        lines += _call("sent = rows_sent", [declared.name], drawn.names, drawn.sent)
        of = [f"typed({contract}, sent).read", f"{declared.name}.declaration.handed_schema"]
        lines += _call("assert_rows", of, drawn.names, drawn.read)
    return "\n".join(lines) + "\n"


def silver_spec(declared: Declaration, sent: pl.DataFrame, read: pl.DataFrame) -> str:
    """A test that records come out of the transform as they read."""
    sent, read = _ends(sent), _ends(read)
    upstream = declared.reads[0].upstream
    ours, theirs = declared.contract.__name__, upstream.contract.__name__
    flat = [name for name, dtype in declared.schema.items() if not dtype.is_nested()]
    drawn = _plain(upstream, flat, sent, read, key=declared.key_columns) if flat else _some_nested(declared, sent, read)
    lines = imported(f"lakehouse.tables.bronze.{upstream.name}", {theirs})
    lines += imported(f"lakehouse.tables.silver.{declared.name}", {ours, declared.name})
    lines += [*imported("lakehouse_tests.drawing", {"assert_rows", "rows"}), "", ""]
    lines += ["def test_a_record_comes_as_it_was_sent() -> None:", *comment(drawn.places, 4)]
    lines += _call("sent = rows", [theirs], drawn.names, drawn.read)
    lines += _call("assert_rows", [f"{declared.name}(sent)", ours], drawn.names, drawn.read)
    return "\n".join(lines) + "\n"


def _call(head: str, arguments: Sequence[str], names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    drawing = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (names, *cells)
    ]
    drawing.insert(1, "-+-".join("-" * width for width in widths))
    said = [f"{each}," for each in arguments] + ['"""', *drawing, '""",']
    return [f"    {head}(", *(f"        {each}" for each in said), "    )"]


# ---- which records and columns can be drawn ----


def _ends(rows: pl.DataFrame) -> pl.DataFrame:
    """The first and the last records, of which some are drawn."""
    return rows if rows.height <= 2 * _CHOSEN_FROM else pl.concat([rows.head(_CHOSEN_FROM), rows.tail(_CHOSEN_FROM)])


def _plain(
    declared: Declaration, names: Sequence[str], sent: pl.DataFrame, read: pl.DataFrame, *, key: Sequence[str] = ()
) -> _Drawn:
    """Some records in as many of the plain columns as fit a line, one of each type first."""
    asked, got = ([list(map(_text, row)) for row in each.select(names).rows()] for each in (sent, read))
    rows = _chosen([[*one, *other] for one, other in zip(asked, got, strict=True)])
    cells = [each[row] for row in rows for each in (asked, got)]
    fit = _fitting(declared.schema, names, cells, key)
    if len(fit) == 1:  # alone on its line, a null is taken for the line below the names
        rows = [row for row in rows if set(asked[row][fit[0]]) - set("-+ ")]
    if not fit or not rows:
        return _Drawn(names[:1], [["x"]], [["x"]], ["Made up: no record of the files can be drawn."])
    drawn = [[[each[row][place] for place in fit] for row in rows] for each in (asked, got)]
    return _Drawn([names[each] for each in fit], drawn[0], drawn[1], _places(read, rows))


def _chosen(cells: Sequence[Sequence[str]]) -> list[int]:
    """The first record that can be drawn best, the first such with a null, and the last such."""
    misses = [row.count(_UNDRAWN) for row in cells]
    best = [row for row, count in enumerate(misses) if count == min(misses)]
    empty = [row for row in best if _NULL in cells[row]]
    return sorted({*best[:1], *empty[:1], *best[-1:]})


def _fitting(schema: pl.Schema, names: Sequence[str], cells: Sequence[Sequence[str]], key: Sequence[str]) -> list[int]:
    """The places of columns that fit beside each other, in order; the key first, then one of each type."""
    seen: set[pl.DataType] = set()
    ranks: list[tuple[bool, bool, int]] = []
    for place, name in enumerate(names):
        ranks.append((name not in key, schema[name] in seen, place))
        seen.add(schema[name])
    room, fit = _LONGEST, list[int]()
    for *_, place in sorted(ranks):
        column = [row[place] for row in cells]
        width = max(len(each) for each in (*column, names[place])) + len(" | ")
        if _UNDRAWN not in column and width <= room:
            room -= width
            fit.append(place)
    return sorted(fit)


def _text(value: Any) -> str:
    """A value as a cell, or _UNDRAWN where a drawing cannot say it."""
    if value is None:
        return _NULL
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    elif isinstance(value, date):
        text = value.isoformat()
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text:
        return _EMPTY
    fits = is_plain(text) and text == text.strip() and "|" not in text and '""' not in text
    return text if fits and text not in (_NULL, _EMPTY) else _UNDRAWN


def _places(read: pl.DataFrame, rows: Sequence[int]) -> list[str]:
    by_file: dict[str, list[str]] = {}
    for row in rows:
        file, number = read.select(_FILE, _ROW).row(row)
        by_file.setdefault(file, []).append(f"{number:,}")
    return [f"{shown(file, quoted=False, longest=90)}, row {' and '.join(rows)}" for file, rows in by_file.items()]


# ---- a nested column: one record, as many of its fields as fit ----


def _some_nested(declared: Declaration, sent: pl.DataFrame, read: pl.DataFrame) -> _Drawn:
    """Of a table that has nothing else."""
    found = next((drawn for name in declared.schema if (drawn := _nested(name, sent, read))), None)
    if found:
        return found
    name, dtype = next(iter(declared.schema.items()))
    cells = [["[]" if isinstance(dtype, pl.List) else "{}"]]
    return _Drawn([name], cells, cells, ["Made up: no record of the files can be drawn."])


def _nested(name: str, sent: pl.DataFrame, read: pl.DataFrame) -> _Drawn | None:
    there = sent.with_row_index("at").filter(pl.col(name).is_not_null())
    best: tuple[int, int, str, str] | None = None
    for row, value in there.select("at", name).iter_rows():
        one, other = value, read[name][row]
        other = other.to_list() if isinstance(other, pl.Series) else other
        for fields in range(len(_fields(one)), 0, -1):
            cells = _json(_first(one, fields)), _json(_first(other, fields))
            if max(map(len, cells)) <= _LONGEST and all(is_plain(each) and "|" not in each for each in cells):
                if best is None or fields > best[0]:
                    best = (fields, row, *cells)
                break
        if best and best[0] == len(_fields(one)):
            break
    return best and _Drawn([name], [[best[2]]], [[best[3]]], _places(read, [best[1]]))


def _fields(value: Any) -> Sequence[Any]:
    """What is counted off until it fits: the fields of an object; of a list of objects, those of one of them."""
    if isinstance(value, list):
        return _fields(value[0]) if value and isinstance(value[0], dict) else value or [None]
    return list(value) if isinstance(value, dict) else [value]


def _first(value: Any, fields: int) -> Any:
    if isinstance(value, dict):
        return dict(list(value.items())[:fields])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_first(each, fields) for each in value]
    return value


def _json(value: Any) -> str:
    return json.dumps(value, default=_text, ensure_ascii=False)
