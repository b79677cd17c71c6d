"""Types that Delta holds, drawn by Hypothesis, and values of each."""

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st

UTC = pl.Datetime("us", "UTC")
_BITS = {pl.Int8: 8, pl.Int16: 16, pl.Int32: 32, pl.Int64: 64}


@st.composite
def decimals(draw) -> pl.DataType:
    digits = draw(st.integers(1, 38))
    return pl.Decimal(digits, draw(st.integers(0, digits)))


PLAIN = st.one_of(
    st.sampled_from([
        pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Float32(), pl.Float64(), pl.Date(), UTC, pl.String(),
        pl.Boolean(), pl.Binary(),
    ]),
    decimals(),
)  # fmt: skip


def _structs(inner: st.SearchStrategy[pl.DataType]) -> st.SearchStrategy[pl.DataType]:
    return st.dictionaries(st.sampled_from("ab"), inner, min_size=1, max_size=2).map(pl.Struct)


TYPES = st.recursive(PLAIN, lambda inner: inner.map(pl.List) | _structs(inner), max_leaves=3)


def wider(dtype: Any) -> st.SearchStrategy[Any]:
    """Types that could be wider ones of `dtype`, and often are."""
    if isinstance(dtype, pl.List):
        return wider(dtype.inner).map(pl.List)
    if isinstance(dtype, pl.Struct):
        fields = st.fixed_dictionaries({each.name: wider(each.dtype) for each in dtype.fields})
        return fields.map(pl.Struct) | fields.map(lambda kept: pl.Struct({**kept, "later": pl.String()}))
    if isinstance(dtype, pl.Decimal):
        return st.integers(0, 38 - dtype.precision).flatmap(
            lambda more: st.integers(0, more).map(lambda scale: pl.Decimal(dtype.precision + more, dtype.scale + scale))
        )
    integers = [pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Float32(), pl.Float64()]
    return st.one_of(st.just(dtype), st.sampled_from([*integers, pl.Date(), UTC]), decimals())


def values(dtype: Any) -> st.SearchStrategy[object]:
    """Any of the type that a table can hold, null too."""
    match dtype:
        case pl.List():
            some = st.lists(values(dtype.inner), max_size=3)
        case pl.Struct():
            some = st.fixed_dictionaries({each.name: values(each.dtype) for each in dtype.fields})
        case pl.Decimal():
            most = 10**dtype.precision - 1
            some = st.integers(-most, most).map(lambda whole: Decimal(whole).scaleb(-dtype.scale))
        case pl.Float32() | pl.Float64():
            some = st.floats(width=32 if dtype == pl.Float32 else 64)
        case pl.Date():
            some = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))
        case pl.Datetime():
            some = st.datetimes(timezones=st.just(dt.UTC))
        case pl.String():
            some = st.text(max_size=5)
        case pl.Boolean():
            some = st.booleans()
        case pl.Binary():
            some = st.binary(max_size=5)
        case _:
            bits = _BITS[type(dtype)] - 1
            some = st.integers(-(2**bits), 2**bits - 1)
    return st.none() | some
