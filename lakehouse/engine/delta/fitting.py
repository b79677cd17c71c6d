"""Rows made to fit a table: as they are, or widened by us with every value proved equal. Nothing else is cast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.delta.compatibility import gained, widens
from lakehouse.engine.delta.storable import as_instance


def fitted(
    rows: pl.DataFrame | pl.LazyFrame, schema: pl.Schema, table: str, *, anew: str = ""
) -> pl.DataFrame | pl.LazyFrame:
    """The rows with exactly the columns of `schema`, in its order. Columns of a narrower type are widened on the way.

    The proof is part of the same pass: whoever carries a lazy frame out meets Refused at the first value that does not
    come back as it was. Refused at once where a column is missing, unknown or of a type that does not widen into the
    table's; then the values that would change are counted, which runs a lazy frame.
    anew: how a table is made anew that has no contract.
    """
    frame = rows.lazy().collect_schema()
    if [*frame.items()] == [*schema.items()]:
        return rows
    narrow = [name for name in schema if name in frame and frame[name] != schema[name]]
    misfits = [name for name in narrow if not widens(frame[name], schema[name])]
    if misfits or set(frame) != set(schema):
        raise Refused(_refusal(rows.lazy(), schema, misfits, table, anew=anew))
    return rows.select(
        proved(pl.col(name), frame[name], schema[name], f"{table}: {name}") if name in narrow else pl.col(name)
        for name in schema
    )


def proved(column: pl.Expr, narrow: pl.DataType, wide: pl.DataType, where: str) -> pl.Expr:
    """The values of `column` as `wide`. Raises Refused, naming `where`, if one does not read back as it was."""

    def widened(values: pl.Series) -> pl.Series:
        there = values.to_frame().select(_recast(pl.col(values.name), narrow, wide)).to_series()
        back = there.to_frame().select(_recast(pl.col(there.name), wide, narrow)).to_series()
        if lost := int(back.ne_missing(values).sum()):
            raise Refused(
                f"{where}: {number(lost, 'value')} of {narrow} would not be the same as {wide}. Nothing was committed. "
                "Leave such values out, or keep the type."
            )
        return there

    return column.map_batches(widened, return_dtype=wide, is_elementwise=True)


def read_as(
    rows: pl.LazyFrame, stored: pl.Schema, schema: pl.Schema, table: str, *, beside: Sequence[str] = ()
) -> pl.LazyFrame:
    """Rows that a table stored before it was widened, as it has them now, and proved to be the same."""
    return rows.select(
        *(
            pl.col(name) if stored[name] == dtype else proved(pl.col(name), stored[name], dtype, f"{table}: {name}")
            for name, dtype in schema.items()
        ),
        *beside,
    )


def _recast(values: pl.Expr, before: pl.DataType, after: pl.DataType) -> pl.Expr:
    """One type as another. A field that `before` has not is null; what does not fit is null as well."""
    if before == after:
        return values
    if isinstance(before, pl.List) and isinstance(after, pl.List):
        return values.list.eval(_recast(pl.element(), as_instance(before.inner), as_instance(after.inner)))
    if isinstance(before, pl.Struct) and isinstance(after, pl.Struct):
        there = {field.name: as_instance(field.dtype) for field in before.fields}
        fields = [
            _recast(values.struct.field(field.name), there[field.name], as_instance(field.dtype)).alias(field.name)
            if field.name in there
            else pl.lit(None, as_instance(field.dtype)).alias(field.name)
            for field in after.fields
        ]
        return pl.when(values.is_not_null()).then(pl.struct(fields))
    return values.cast(after, strict=False)


def _lost(rows: pl.LazyFrame, name: str, before: pl.DataType, after: pl.DataType) -> int:
    """How many values of a column do not come back as they were from `after`."""
    there = rows.select(pl.col(name).alias("was"), _recast(pl.col(name), before, after).alias("is"))
    back = there.select(_recast(pl.col("is"), after, before).ne_missing(pl.col("was")).sum())
    return int(back.collect(engine="streaming").item())


def _refusal(rows: pl.LazyFrame, schema: pl.Schema, misfits: list[str], table: str, *, anew: str) -> str:
    frame, is_declared = rows.collect_schema(), not anew
    said = [
        *_other_names(frame, schema, is_declared=is_declared),
        *_other_types(rows, schema, misfits, is_declared=is_declared),
    ]
    ways = "Cast in the transform, or, where the contract changed on purpose, make the table anew: lakehouse rebuild."
    return (
        f"{table} refused a frame whose columns are not the table's: {'; '.join(said)}. Nothing was written, since a "
        f"writer that casts changes values silently. {anew or ways}"
    )


def _other_names(frame: pl.Schema, schema: pl.Schema, *, is_declared: bool) -> Iterator[str]:
    added = "; a contract that declares it nullable adds it" if is_declared else ""
    yield from (
        f"{name}: the table has no such column (frame: {dtype}){added}"
        for name, dtype in frame.items()
        if name not in schema
    )
    yield from (f"{name}: missing in the frame (table: {dtype})" for name, dtype in schema.items() if name not in frame)


def _other_types(rows: pl.LazyFrame, schema: pl.Schema, misfits: list[str], *, is_declared: bool) -> Iterator[str]:
    frame, count = rows.collect_schema(), rows.select(pl.len()).collect().item() if misfits else 0
    for name in misfits:
        before, after = frame[name], schema[name]
        try:
            lost = f"{_lost(rows, name, before, after):,}"
        except pl.exceptions.PolarsError:  # the one has no words for the other
            lost = "all"
        wider = f"; a contract that declares {before} widens the table" if is_declared and widens(after, before) else ""
        fields = [f"the table has no field {path}" for path in gained(name, after, before)]
        fields += [f"{path} is missing in the frame" for path in gained(name, before, after)]
        said = ", ".join([*fields, f"{lost} of {number(count, 'value')} would change{wider}"])
        yield f"{name}: {before} in the frame, {after} in the table: {said}"
