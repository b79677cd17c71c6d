"""What would change: the exact difference between the rows that stand and the rows that would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Difference:
    """Rows that are only here, only there, or (with a key) at both places and not equal."""

    same: int
    gone: pl.DataFrame
    new: pl.DataFrame
    changed: pl.DataFrame

    @property
    def is_none(self) -> bool:
        return self.gone.is_empty() and self.new.is_empty() and self.changed.is_empty()

    def __str__(self) -> str:
        if self.is_none:
            return f"no difference: {self.same:,} rows are the same"
        return (
            f"{self.same:,} rows the same, {self.new.height:,} new, {self.gone.height:,} gone, "
            f"{self.changed.height:,} changed"
        )


def difference(standing: pl.DataFrame, would: pl.DataFrame, key: Sequence[str]) -> Difference:
    """Compare two frames of one schema, row by row; repeated rows are counted, order is not.

    `changed` has the key, and of each other column `<name>` (as it would be) and `<name>__was`.
    """
    names = standing.columns
    rest = [name for name in names if name not in key]
    left, right = _numbered(standing, key or names), _numbered(would.select(names), key or names)
    on = [*(key or names), "__nth"]
    both = left.join(right, on=on, how="inner", nulls_equal=True, suffix="__would")
    differs = pl.any_horizontal(
        pl.lit(value=False), *(pl.col(n).ne_missing(pl.col(f"{n}__would")) for n in rest if key)
    )
    changed = both.filter(differs)
    return Difference(
        same=both.height - changed.height,
        gone=left.join(right, on=on, how="anti", nulls_equal=True).select(names),
        new=right.join(left, on=on, how="anti", nulls_equal=True).select(names),
        changed=changed.select(
            *key, *(e for n in rest if key for e in (pl.col(f"{n}__would").alias(n), pl.col(n).alias(f"{n}__was")))
        )
        if key
        else changed.select(names),
    )


def _numbered(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    return frame.with_columns(__nth=pl.int_range(pl.len()).over(by))
