"""The words of a transform's signature.

To the type checker each is a Polars LazyFrame; to `@table` it says what to read.
"""

import polars as pl

from lakehouse.engine.declare.contract import Contract

type Frame[C: Contract] = pl.LazyFrame
"""The whole table; as a return annotation, the rows that the contract promises."""

type New[C: Contract] = pl.LazyFrame
"""The rows appended since this table last consumed its upstream."""

type Affected[C: Contract] = pl.LazyFrame
"""All rows of the slices (of a day, say) in which a row came, went or changed since this table last consumed them.

Written by `ReplacePartition` they make what a rebuild makes; `Merge` keeps the row of a key of which nothing is left.
"""
