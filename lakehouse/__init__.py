"""The front door: the words a table file may use. Lazy (PEP 562), so that `lakehouse --help` loads none of them."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# How Polars allocates, read when it is first imported: its own setting gives what was freed back to the system after
# half a second, and each table of a run asks for it anew, a tenth of its CPU. Ten seconds are jemalloc's own default;
# with an arena for each core, not four, what one thread has freed is there for another. So it is with all pieces of
# 256 KiB and more, of one arena for all (jemalloc: of 8 MiB), in the same time: else each thread kept its own, and
# with 16 of them a merge took thrice as much as with two (engine/delta/memory.py). What a person has set stands.
os.environ.setdefault(
    "_RJEM_MALLOC_CONF", f"narenas:{os.cpu_count()},dirty_decay_ms:10000,oversize_threshold:{256 << 10}"
)

if TYPE_CHECKING:
    from lakehouse.engine.declare.contract import Bronze, Gold, Silver, Struct, check, column
    from lakehouse.engine.declare.dtypes import Gbp, Int32, Measure, Utc
    from lakehouse.engine.declare.formats import Avro, Csv, Excel, Json, JsonLines, Limits, Parquet
    from lakehouse.engine.declare.frames import Affected, Frame, New
    from lakehouse.engine.declare.readers import Reader
    from lakehouse.engine.declare.source import Files, Snapshots
    from lakehouse.engine.declare.spark import Spark
    from lakehouse.engine.declare.text import date_text, local_time, number_text, true_false
    from lakehouse.engine.declare.write import Append, History, Merge, Overwrite, Quarantine, ReplacePartition, Vanished
    from lakehouse.engine.orchestrate.table import table

_ROOMS = {
    "declare.contract": "Bronze Gold Silver Struct check column",
    "declare.dtypes": "Gbp Int32 Measure Utc",
    "declare.formats": "Avro Csv Excel Json JsonLines Limits Parquet",
    "declare.frames": "Affected Frame New",
    "declare.readers": "Reader",
    "declare.source": "Files Snapshots",
    "declare.spark": "Spark",
    "declare.text": "date_text local_time number_text true_false",
    "declare.write": "Append History Merge Overwrite Quarantine ReplacePartition Vanished",
    "orchestrate.table": "table",
}
_WORDS = {word: f"lakehouse.engine.{room}" for room, words in _ROOMS.items() for word in words.split()}

__all__ = [
    "Affected",
    "Append",
    "Avro",
    "Bronze",
    "Csv",
    "Excel",
    "Files",
    "Frame",
    "Gbp",
    "Gold",
    "History",
    "Int32",
    "Json",
    "JsonLines",
    "Limits",
    "Measure",
    "Merge",
    "New",
    "Overwrite",
    "Parquet",
    "Quarantine",
    "Reader",
    "ReplacePartition",
    "Silver",
    "Snapshots",
    "Spark",
    "Struct",
    "Utc",
    "Vanished",
    "check",
    "column",
    "date_text",
    "local_time",
    "number_text",
    "table",
    "true_false",
]


def __getattr__(name: str) -> Any:
    if name not in _WORDS:
        raise AttributeError(f"module 'lakehouse' has no word {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_WORDS[name]), name)


def __dir__() -> list[str]:
    return __all__
