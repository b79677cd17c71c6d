"""Deletion vectors: which rows of a data file are no longer of the table (Delta's PROTOCOL.md, "Deletion Vectors").

A vector says positions of rows in its file, from 0. Vectors of one commit lie in one file beside the data.
"""

from __future__ import annotations

import base64
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

import polars as pl
from polars._typing import DeletionFiles
from pyroaring import BitMap

from lakehouse.engine.declare.errors import Refused, Terminal
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.log import Action, Standing
from lakehouse.engine.delta.place import full, make_durable
from lakehouse.engine.delta.protocol import DELETION_VECTORS

ENABLED = "delta.enableDeletionVectors"
_PROTECTED, _PROTECTED_BEFORE = "checkpointProtection", "delta.requireCheckpointProtectionBeforeVersion"

type Asks = Callable[[Standing, Action | None], tuple[Action | None, Action | None]]
"""Of what stands, and of the metadata that a commit would bring: the protocol and the metadata that it is to bring."""

_OF_WRITER_2 = ("appendOnly", "invariants")
_FORMAT, _MAGIC = b"\x01", 1_681_511_377
_OF_PYTHON = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_OF_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_UUID = 20  # characters that a uuid takes; what stands before them is a folder


def enabling(standing: Standing, metadata: Action | None) -> tuple[Action | None, Action | None]:
    """The protocol and the metadata with which a table may have deletion vectors; as they are where it may already."""
    told = metadata or standing.metadata
    configuration: dict[str, str] = dict(told.get("configuration") or {})
    if configuration.get(ENABLED) == "true":
        return None, metadata
    kinds = {"readerFeatures": [DELETION_VECTORS], "writerFeatures": [DELETION_VECTORS, *_OF_WRITER_2]}
    features = {kind: sorted({*standing.protocol.get(kind, []), *mine}) for kind, mine in kinds.items()}
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, **features}
    return protocol, {**told, "configuration": {**configuration, ENABLED: "true"}}


def disabling(version: int, standing: Standing, metadata: Action | None) -> tuple[Action | None, Action | None]:
    """Those with which it has none any more from `version` on, as Delta 4's DROP FEATURE makes them.

    What its versions before hold asks that other engines do not write checkpoints of them anew: a feature of writers.
    """
    told = metadata or standing.metadata
    configuration = {name: text for name, text in dict(told.get("configuration") or {}).items() if name != ENABLED}
    readers, writers = (
        {*standing.protocol.get(kind, [])} - {DELETION_VECTORS} for kind in ("readerFeatures", "writerFeatures")
    )
    features = {"writerFeatures": sorted({*writers, _PROTECTED})} | (
        {"readerFeatures": sorted(readers)} if readers else {}
    )
    protocol = {"minReaderVersion": 3 if readers else 1, "minWriterVersion": 7, **features}
    return protocol, {**told, "configuration": {**configuration, _PROTECTED_BEFORE: str(version)}}


class Damaged(Terminal):
    """A vector is not as it was written."""


class Vector(NamedTuple):
    """Where the positions lie, as the log says it; `rows` is how many they are, `size` their bytes."""

    kind: str
    where: str
    offset: int | None
    size: int
    rows: int

    @classmethod
    def of(cls, action: Action) -> Vector | None:
        """That of an add or a remove."""
        told: Action | None = action.get("deletionVector")
        if not told:
            return None
        return cls(
            told["storageType"], told["pathOrInlineDv"], told.get("offset"), told["sizeInBytes"], told["cardinality"]
        )

    @property
    def action(self) -> Action:
        beside = {} if self.offset is None else {"offset": self.offset}
        told = {"storageType": self.kind, "pathOrInlineDv": self.where, "sizeInBytes": self.size}
        return {**told, **beside, "cardinality": self.rows}

    @property
    def file(self) -> str | None:
        """Its name below the table's folder, or where else it lies; None where the log holds the positions."""
        if self.kind != "u":
            return unquote(self.where) if self.kind == "p" else None
        folder, name = self.where[:-_UUID], _named(uuid.UUID(bytes=_from_z85(self.where[-_UUID:])))
        return f"{folder}/{name}" if folder else name


def vectors_of(adds: Mapping[str, Action]) -> dict[str, Vector]:
    """Those of the files that have one, by path."""
    return {path: vector for path, add in adds.items() if (vector := Vector.of(add))}


class Mark(NamedTuple):
    """A vector that was written, and the places that it says."""

    vector: Vector
    places: BitMap


NO_MARKS: Mapping[str, Mark] = {}


def write_vectors(address: Address, gone: Mapping[str, BitMap]) -> dict[str, Mark]:
    """The vectors of data files, by path, as one new file that nobody sees yet; durable on a local disk.

    None of `gone` may be empty.
    """
    name, content, vectors = uuid.uuid4(), bytearray(_FORMAT), dict[str, Vector]()
    where = base64.b85encode(name.bytes).translate(bytes.maketrans(_OF_PYTHON, _OF_Z85)).decode()
    for path, positions in gone.items():
        data = struct.pack("<IQI", _MAGIC, 1, 0) + positions.serialize()
        vectors[path] = Vector("u", where, len(content), len(data), len(positions))
        content += struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
    store.create(address, _named(name), bytes(content), is_ours=True)
    if address.is_local:
        make_durable(full(address, [_named(name)]))
    return {path: Mark(vector, gone[path]) for path, vector in vectors.items()}


def read_vectors(address: Address, vectors: Iterable[Vector]) -> dict[Vector, BitMap]:
    """The positions that each of them says. Raises Damaged, FileNotFoundError, OSError.

    Refused where one is told by an absolute path, as in a clone.
    """
    wanted = list(dict.fromkeys(vectors))
    if away := next((each.file for each in wanted if each.kind == "p"), None):
        raise Refused(
            f"{address} has a deletion vector by an absolute path (storageType p), as a clone has: {away}. Such are "
            "not read here: nothing was. Read it with Spark, or have its files written anew there (reorg table "
            f"delta.`{address}` apply (purge))."
        )
    names = list(dict.fromkeys(each.file for each in wanted if each.file is not None))
    content = dict(zip(names, store.read(address, names) if names else [], strict=True))
    return {each: _positions(address, each, content) for each in wanted}


def places_of(address: Address, vectors: Mapping[str, Vector]) -> dict[str, BitMap]:
    """What the vectors of files say, by path."""
    places = read_vectors(address, vectors.values())
    return {path: places[vector] for path, vector in vectors.items()}


def all_but(places: BitMap, rows: int) -> BitMap:
    """What is to be left out of a file of so many rows for these places alone to be read."""
    return BitMap(range(rows)) - places


def hiding(gone: Mapping[str, BitMap]) -> DeletionFiles:
    """As Polars takes it: what it shall leave out of files, which it tells by their full paths."""

    def masks(asked: pl.DataFrame) -> pl.DataFrame:
        none = pl.Series("selection_vector", [None], dtype=pl.List(pl.Boolean))
        kept = (_kept(gone[path]) for path in asked["path"])
        # made of a plain list of series, each of their values would be asked by itself
        return pl.concat([none.clear(), *(none if each is None else each.implode() for each in kept)]).to_frame()

    return ("delta-deletion-vector", masks)


def _kept(gone: BitMap) -> pl.Series | None:
    """True for each row that stays, up to the last that does not."""
    if not gone:
        return None
    every = pl.repeat(value=True, n=gone.max() + 1, dtype=pl.Boolean, eager=True)
    return every.scatter(pl.Series(gone.to_array(), dtype=pl.Int64), values=False)


def _positions(address: Address, vector: Vector, content: Mapping[str, bytes]) -> BitMap:
    name = vector.file
    if name is None:
        data = _from_z85(vector.where)[: vector.size]
    else:
        start = (vector.offset or 0) + 4
        data = content[name][start : start + vector.size]
        if content[name][start + vector.size :][:4] != struct.pack(">I", zlib.crc32(data)):
            raise Damaged(f"{address}: the deletion vector {name} is not as it was written: its checksum is another.")
    return _decoded(address, data)


def _decoded(address: Address, data: bytes) -> BitMap:
    magic, count, high = struct.unpack_from("<IQI", data + bytes(16))
    if magic != _MAGIC or count > 1 or (count and high):
        raise Damaged(f"{address}: a deletion vector is none that we can read (it begins with {data[:16].hex()}).")
    return BitMap.deserialize(data[16:]) if count else BitMap()


def _named(name: uuid.UUID) -> str:
    return f"deletion_vector_{name}.bin"


def _from_z85(text: str) -> bytes:
    return base64.b85decode(text.encode().translate(bytes.maketrans(_OF_Z85, _OF_PYTHON)))
