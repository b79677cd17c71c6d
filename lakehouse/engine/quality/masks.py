"""What a person is shown of personal columns: that there is a value, and not which."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

MASK = "•••"


def masked(rows: pl.DataFrame, personal: Collection[str]) -> pl.DataFrame:
    """The rows with MASK for every value of these columns, of which some may be absent; a null stays null."""
    return rows.with_columns(
        pl.when(pl.col(name).is_not_null()).then(pl.lit(MASK)).alias(name) for name in personal if name in rows.columns
    )
