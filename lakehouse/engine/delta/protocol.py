"""Delta's protocol, asked before a commit: which features it would need, and whether every declared reader has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl
from deltalake import DeltaTable

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.delta.storable import OF_A_ZONE, check_storable

if TYPE_CHECKING:
    from lakehouse.engine.delta.handle import Handle

COLUMN_MAPPING = "columnMapping"
DELETION_VECTORS = "deletionVectors"
TIMESTAMP_NTZ = "timestampNtz"

_READS: Mapping[Reader, frozenset[str]] = {
    # What deltalake 1.6.6 and Polars 2.1 both read right (test_upstream_facts_protocol.py). One alone reads more:
    # deltalake's QueryBuilder column mapping and v2 checkpoints, which Polars refuses and pyarrow reads as null.
    Reader.DELTA_RS: frozenset({DELETION_VECTORS, TIMESTAMP_NTZ}),
    # https://docs.databricks.com/aws/en/delta/feature-compatibility
    Reader.DATABRICKS: frozenset(
        {
            COLUMN_MAPPING, DELETION_VECTORS, TIMESTAMP_NTZ, "typeWidening", "typeWidening-preview", "v2Checkpoint",
            "vacuumProtocolCheck", "variantType", "variantType-preview",
        }
    ),
    # "The serverless SQL pools can query Delta Lake version 1.0": reader version 1, which knows no features.
    # https://learn.microsoft.com/en-us/azure/synapse-analytics/sql/query-delta-lake-format
    Reader.SYNAPSE: frozenset(),
    # Its SQL analytics endpoint and Direct Lake, which have no TIMESTAMP_NTZ and say nothing of the others.
    # https://learn.microsoft.com/en-us/fabric/fundamentals/delta-lake-interoperability
    Reader.FABRIC: frozenset({COLUMN_MAPPING, DELETION_VECTORS}),
}  # fmt: skip

# Table properties that ask for a reader feature (PROTOCOL.md, "Valid Feature Names in Table Features").
_ASKED_BY: Mapping[tuple[str, str], str] = {
    ("delta.columnMapping.mode", "name"): COLUMN_MAPPING,
    ("delta.columnMapping.mode", "id"): COLUMN_MAPPING,
    ("delta.enableDeletionVectors", "true"): DELETION_VECTORS,
    ("delta.enableTypeWidening", "true"): "typeWidening",
    ("delta.checkpointPolicy", "v2"): "v2Checkpoint",
}


@dataclass(frozen=True)
class Protocol:
    """What a reader must know: the least version, and each feature with what asks for it, in words."""

    features: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def reader(self) -> int:
        """The least reader version."""
        if self.features.keys() - {COLUMN_MAPPING}:
            return 3
        return 2 if self.features else 1


def can_read(readers: Iterable[Reader] | None, feature: str) -> bool:
    """Whether each of them reads tables that have this feature. None: nobody has said who reads, so everyone may."""
    return all(feature in _READS[each] for each in _any_of(readers))


def needed(schema: pl.Schema, configuration: Mapping[str, str] | None = None) -> Protocol:
    """What a table of these columns and these table properties asks of its readers."""
    said = {(name, value.lower()) for name, value in (configuration or {}).items()}
    asked = {feature: f"its property {name}" for (name, value), feature in _ASKED_BY.items() if (name, value) in said}
    if naive := [path for name, dtype in schema.items() for path in _naive(name, dtype)]:
        asked[TIMESTAMP_NTZ] = f"its column {', '.join(naive)} (a timestamp without a zone)"
    return Protocol(asked)


def standing(table: DeltaTable) -> Protocol:
    """What an opened table asks of its readers."""
    said = table.protocol()
    mapping = [COLUMN_MAPPING] if said.min_reader_version == 2 else []  # noqa: PLR2004 # the version that brought it
    return Protocol(dict.fromkeys([*mapping, *(said.reader_features or [])], "its protocol"))


def check_new(name: str, readers: Sequence[Reader] | None, schema: pl.Schema) -> None:
    """Refuse columns that Delta cannot hold, or of which one would ask of a reader what it cannot read."""
    check_storable(schema, name)
    check_needed(name, readers, needed(schema))


def check_needed(name: str, readers: Sequence[Reader] | None, protocol: Protocol) -> None:
    """Refuse what a new table, or one that is made anew, would ask of a reader that cannot."""
    for feature, why, strangers in _beyond(readers, protocol):
        zoned = f"make it Datetime('us', 'UTC') by the zone of its clock, as .{OF_A_ZONE}"
        mend = zoned if feature == TIMESTAMP_NTZ else f"leave out {why.removeprefix('its ')}"
        raise Refused(
            f"{name} would need Delta's reader feature {feature} for {why}, which {_and(strangers)} cannot read. "
            f"Nothing was written. Either {mend}, or {_leave_out(readers, strangers)}."
        )


def check_commit(handle: Handle, schema: pl.Schema | None = None) -> None:
    """Refuse a commit after which a declared reader could not read the table, be it by what stands there already.

    `schema` is that of a commit which makes the table anew. Of a handle for which no readers were declared only what
    the commit itself would bring is asked.
    """
    stands = standing(table_of(handle))
    coming = needed(schema) if schema is not None else Protocol()
    brought = {feature: why for feature, why in coming.features.items() if feature not in stands.features}
    check_needed(str(handle.address), handle.readers, Protocol(brought))
    for feature, why in brought.items():  # deltalake would write the columns, and leave the protocol as it is
        raise Refused(
            f"{handle.address} was made without Delta's reader feature {feature}, which {why} needs. Nothing was "
            f"committed; version {handle.version} stands. Leave it out, or remove the folder and make the table anew "
            "(lakehouse rebuild)."
        )
    _check_standing(handle)


def _check_standing(handle: Handle) -> None:
    for feature, _, strangers in _beyond(handle.readers, standing(table_of(handle))) if handle.readers else ():
        raise Refused(
            f"{handle.address} stands with Delta's reader feature {feature}, which {_and(strangers)} cannot read. "
            f"Nothing was written; version {handle.version} stands. Take it away in Spark or Databricks (alter table "
            f"delta.`{handle.address}` drop feature {feature}), remove the folder and make the table anew (lakehouse "
            f"rebuild), or {_leave_out(handle.readers, strangers)}."
        )


def for_readers(handle: Handle, readers: Sequence[Reader]) -> Handle:
    """The same version; what is committed on it must be readable to these. Refused where it is not itself."""
    same = copy(handle)
    same.readers = tuple(readers)
    _check_standing(same)
    return same


def table_of(handle: Handle) -> DeltaTable:
    """What the handle's protocol and properties are told by: an opened version, the same or an earlier one."""
    return handle._opened  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # our commits leave the protocol as it is


def _any_of(readers: Iterable[Reader] | None) -> Iterable[Reader]:
    return EVERY_READER if readers is None else readers


def _beyond(readers: Sequence[Reader] | None, protocol: Protocol) -> Iterator[tuple[str, str, list[Reader]]]:
    """Each feature that some reader cannot read, with what asks for it and who cannot."""
    for feature, why in protocol.features.items():
        if strangers := [each for each in _any_of(readers) if feature not in _READS[each]]:
            yield feature, why, strangers


def _leave_out(readers: Sequence[Reader] | None, strangers: Sequence[Reader]) -> str:
    left = [f"Reader.{each.name}" for each in _any_of(readers) if each not in strangers]
    they = "them" if len(strangers) > 1 else "it"
    return f"leave {they} out: @table(readers=[{', '.join(left)}])" if left else f"name other readers than {they}"


def _and(readers: Sequence[Reader]) -> str:
    *first, last = readers
    return f"its readers {', '.join(first)} and {last}" if first else f"its reader {last}"


def _naive(path: str, dtype: pl.DataType) -> Iterator[str]:
    """Where a type holds timestamps without a zone."""
    if isinstance(dtype, pl.List):
        yield from _naive(f"{path}[]", dtype.inner)  # type: ignore[arg-type] # polars types it as a class or an instance
    elif isinstance(dtype, pl.Struct):
        for each in dtype.fields:
            yield from _naive(f"{path}.{each.name}", each.dtype)  # type: ignore[arg-type] # as above
    elif isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        yield path
