"""Rows as a terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table as Drawn
from rich.text import Text

from lakehouse.opened import out

if TYPE_CHECKING:
    from lakehouse.engine.quality.difference import Difference


def draw(difference: Difference) -> None:
    for word, rows in difference.parts():
        out.print(f"{word} ({min(rows.height, 10)} of {rows.height:,})", style="italic")
        draw_rows(rows.columns, rows.head(10).rows())


def draw_rows(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    drawn = Drawn(box=None, header_style="bold")
    for name in names:
        drawn.add_column(Text(name), overflow="fold")  # a value is never cut: what is too long goes on below
    for row in rows:
        drawn.add_row(*(Text("" if value is None else str(value)) for value in row))  # Text: nothing in it is markup
    out.print(drawn)
