"""Plain `@dg.asset`s beside our tables: the frame that one returns becomes a Delta table, and comes back as a frame.

One table per asset, at the place that its key names. Without partitions the frame is all there is. With partitions
the asset's metadata says by which column its rows belong to them (`partition_by`, as for dagster-polars), and a run
replaces the rows of its own partitions and no others. Nothing is ever cast, appended or pickled.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import dagster as dg
import polars as pl

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address, Storage
from lakehouse.engine.declare.sql_words import SQL_WORDS
from lakehouse.engine.declare.table import REPLACED, launch
from lakehouse.engine.delta.advice import partition_advice
from lakehouse.engine.delta.batch import Spilled
from lakehouse.engine.delta.fitting import fitted
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.prepared import Written
from lakehouse.engine.delta.storable import check_names, check_storable
from lakehouse.engine.delta.travel import as_it_stood
from lakehouse.engine.delta.writes import overwrite, replace_slice
from resources.partition_slices import Slices

PREVIEW_ROWS = 5

type Frame = pl.LazyFrame | pl.DataFrame


def write_plain(context: dg.OutputContext, lake: Storage, obj: Any) -> None:
    """Store what an asset returned, and tell Dagster what was stored. Raises Refused; nothing is committed then."""
    asset = _asset_of(context)
    is_optional, _ = _unwrapped(context.dagster_type.typing_type)
    if obj is None and is_optional:
        context.add_output_metadata({"missing": True})
        return
    _refuse_other_words(asset, context.definition_metadata)
    slices = _slices_to_write(asset, context)
    frame = _frame(asset, obj)
    address = lake.address(*context.asset_key.path)
    schema = frame.collect_schema()
    check_storable(schema, asset)
    if slices:
        slices.check(schema)
    written, sizes = _carry_out(asset, address, frame, slices, note={"asset": asset, "run": context.run_id})
    context.add_output_metadata({**facts_of(context, written, address), **_shown(context, written, slices)})
    for key, rows in sizes.items():
        context.step_context.add_asset_metadata(
            {"dagster/partition_row_count": rows}, asset_key=context.asset_key, partition_key=key
        )


def load_plain(context: dg.InputContext, lake: Storage) -> Any:
    """The rows of an asset's table, pinned at its newest version, or at the version or time that `as_of` says.

    Of the mapped partitions only, where it has some. The annotation decides: pl.DataFrame (also without one, as in
    dagster-polars), pl.LazyFrame, dict[str, either] by partition key; None where it is Optional and there is nothing.
    """
    asset = _asset_of(context)
    is_optional, wanted = _unwrapped(context.dagster_type.typing_type)
    by_key, wanted = _by_key(wanted)
    if wanted not in (pl.DataFrame, pl.LazyFrame):
        raise Refused(
            f"{context.name}: the lake holds tables, and {wanted!r} is none. Annotate the parameter with pl.DataFrame, "
            "pl.LazyFrame, or dict[str, pl.DataFrame] by partition."
        )
    slices = _slices_to_read(asset, context)
    if slices and not slices.keys and (is_optional or by_key):
        return None if is_optional else {}
    handle = _open(asset, context, lake.address(*context.asset_key.path))
    if handle is None:
        if is_optional:
            return None
        raise Refused(
            f"{asset} has no table at {lake.address(*context.asset_key.path)}. Materialize it first, or annotate "
            "the parameter Optional[…] when it may be missing."
        )
    return _handed(_read(context, handle), handle.schema, slices, eager=wanted is pl.DataFrame, by_key=by_key)


def facts_of(context: dg.OutputContext, written: Written, address: Address) -> dict[str, Any]:
    """What every materialization says of the commit, and of the table's partitions where they are not well chosen.

    The latter as a warning of the run, too.
    """
    advice = partition_advice(written.handle)
    for each in advice:
        context.log.warning("%s: %s", context.asset_key.to_user_string(), each)
    return {
        "dagster/row_count": written.rows,
        "dagster/uri": str(address),
        "delta/version": written.version,
        "delta/bytes": written.bytes,
        "delta/files_added": written.files_added,
        "delta/files_removed": written.files_removed,
        "rows_written": written.rows_written,
        **(written.plan.facts if written.plan else {}),
        **({"partition_advice": "; ".join(advice)} if advice else {}),
    }


def _carry_out(
    asset: str, address: Address, frame: Frame, slices: Slices | None, *, note: Mapping[str, str]
) -> tuple[Written, dict[str, int]]:
    """The commit, and the rows of each partition. What can be refused is refused before a table is made."""
    standing = Handle.open(address)
    if standing:
        frame = _fitted(asset, frame, standing, slices)
        if not slices:
            return overwrite(standing, frame, _turn(None), note), {}
    computed = frame if isinstance(frame, pl.DataFrame) else Spilled(frame)  # once, and it need not fit into memory
    rows = computed.lazy()
    sizes = slices.sizes(rows, frame.collect_schema()) if slices else {}
    handle = standing or _create(asset, address, frame, slices)
    if not slices:
        return overwrite(handle, rows, _turn(None), note), {}
    return replace_slice(handle, rows, slices.predicate(handle.schema), _turn(slices), note), sizes


def _turn(slices: Slices | None) -> dict[str, int]:
    """A transaction for all that is replaced: of two runs of one partition, who was overtaken meets a Conflict."""
    return {f"{REPLACED} {key}".strip(): secrets.randbits(60) for key in (slices.keys if slices else [""])}


def _fitted(asset: str, frame: Frame, table: Handle, slices: Slices | None) -> Frame:
    again = launch(asset, is_partitioned=bool(slices)) + (", for each of its partitions" if slices else "")
    ways = f"Return the columns and types that the table has; or move {table.address} away, and make it anew: {again}"
    return fitted(frame, table.schema, asset, anew=ways)


def _create(asset: str, address: Address, frame: Frame, slices: Slices | None) -> Handle:
    schema = frame.collect_schema()
    check_names(schema, asset, words=SQL_WORDS)
    made = Handle.create(address, schema, partition_by=slices.folders(schema) if slices else ())
    _fitted(asset, frame, made, slices)  # another run may have been first
    if made.version > 0 and not slices:
        raise Conflict(f"{asset}: another run made {address} first; nothing was committed. Run again.")
    return made


def _asset_of(context: dg.OutputContext | dg.InputContext) -> str:
    if not context.has_asset_key:
        raise Refused(
            f"{context.name}: the lake keeps the tables of assets, and this belongs to an op without one. Give it "
            'io_manager_key="…" of another IO manager (dg.mem_io_manager keeps values within one process).'
        )
    return context.asset_key.to_user_string()


def _refuse_other_words(asset: str, metadata: Mapping[str, Any]) -> None:
    """What dagster-polars would have done differently must not be passed over in silence."""
    mode = metadata.get("mode", "overwrite")
    if mode != "overwrite":
        raise Refused(
            f"{asset}: mode {mode!r} is not done here: an append doubles rows when a run is repeated. Nothing was "
            "written. Leave it out, give the asset partitions, or declare @table(write=Append())."
        )
    if options := metadata.get("delta_write_options"):
        raise Refused(
            f"{asset}: delta_write_options={options!r} are not taken: columns and types of a table stay as they are. "
            "Nothing was written. Leave them out."
        )


def _frame(asset: str, obj: Any) -> pl.LazyFrame | pl.DataFrame:
    if isinstance(obj, pl.LazyFrame | pl.DataFrame):
        return obj
    raise Refused(
        f"{asset} returned {type(obj).__name__}, and the lake holds tables only: nothing is pickled. Return a "
        "pl.DataFrame or pl.LazyFrame (also as dg.Output or dg.MaterializeResult(value=…)), annotate `-> None` when "
        "there is nothing to store, or give the asset another io_manager_key."
    )


def _slices_to_write(asset: str, context: dg.OutputContext) -> Slices | None:
    definition = context.asset_spec.partitions_def
    if definition is None:
        return None
    if not context.has_asset_partitions:
        raise Refused(
            f"{asset} is partitioned and the run names no partition, so what it may replace is not known. Nothing was "
            "written. Launch it with a partition key or a range of them."
        )
    return Slices.of(asset, context.definition_metadata, definition, context.asset_partition_keys)


def _slices_to_read(asset: str, context: dg.InputContext) -> Slices | None:
    if not context.has_asset_partitions:
        return None
    upstream = context.upstream_output.definition_metadata if context.upstream_output else {}
    return Slices.of(asset, upstream, context.asset_partitions_def, context.asset_partition_keys)


def _open(asset: str, context: dg.InputContext, address: Address) -> Handle | None:
    for word in ("pyarrow_options", "delta_table_options"):
        if context.definition_metadata.get(word):
            raise Refused(f"{context.name}: {word} are not taken. Leave them out and filter the frame of {asset}.")
    then = context.definition_metadata.get("as_of", context.definition_metadata.get("version"))
    handle = Handle.open(address)
    return handle if handle is None or then is None else as_it_stood(handle, str(then))


def _read(context: dg.InputContext, handle: Handle) -> pl.LazyFrame:
    # Not add_input_metadata: Dagster takes it for one partition only.
    context.log.info("%s: %s, version %d", context.name, handle.address, handle.version)
    columns = context.definition_metadata.get("columns")
    if columns is None:
        return handle.scan()
    if unknown := [name for name in columns if name not in handle.schema]:
        raise Refused(
            f"{context.name} asks for the columns {', '.join(unknown)}, which {handle.address} has not. "
            f"It has: {', '.join(handle.schema)}."
        )
    return handle.scan().select(columns)


def _handed(
    rows: pl.LazyFrame, schema: pl.Schema, slices: Slices | None, *, eager: bool, by_key: bool
) -> pl.DataFrame | pl.LazyFrame | dict[str, pl.DataFrame] | dict[str, pl.LazyFrame]:
    if slices is None and by_key:
        raise Refused("A dict by partition was asked for, and the upstream has none: ask for the frame itself.")
    if slices is None:
        return rows.collect() if eager else rows
    slices.check(schema)
    if not by_key:
        chosen = rows.filter(slices.predicate(schema))
        return chosen.collect() if eager else chosen
    parts = {str(key): rows.filter(slices.one(key).predicate(schema)) for key in slices.keys}
    if not eager:
        return parts
    return dict(zip(parts, pl.collect_all(parts.values()), strict=True))


def _unwrapped(annotation: Any) -> tuple[bool, Any]:
    """Whether it is Optional, and what it is then."""
    if get_origin(annotation) not in (Union, UnionType):
        return False, annotation
    others = [each for each in get_args(annotation) if each is not NoneType]
    return len(others) < len(get_args(annotation)), others[0] if len(others) == 1 else annotation


def _by_key(annotation: Any) -> tuple[bool, Any]:
    """Whether it is a dict by partition, and of what. No annotation means pl.DataFrame."""
    is_dict = get_origin(annotation) in (dict, Mapping)
    inner = get_args(annotation)[-1] if is_dict else annotation
    return is_dict, pl.DataFrame if inner is Any else inner


def _shown(context: dg.OutputContext, written: Written, slices: Slices | None) -> dict[str, Any]:
    """Columns tab and preview. A description that the asset's own column schema gives is kept."""
    handle = written.handle
    declared = context.definition_metadata.get("dagster/column_schema")
    declared = declared.value if isinstance(declared, dg.MetadataValue) else declared
    described = {each.name: each.description for each in declared.columns} if declared else {}
    columns = [dg.TableColumn(name, str(dtype), described.get(name)) for name, dtype in handle.schema.items()]
    rows = handle.scan().filter(slices.predicate(handle.schema)) if slices else handle.scan()
    with pl.Config(
        tbl_formatting="MARKDOWN", tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, tbl_cols=-1
    ):
        preview = str(rows.head(PREVIEW_ROWS).collect())
    return {"dagster/column_schema": dg.TableSchema(columns), "preview": dg.MetadataValue.md(preview)}
