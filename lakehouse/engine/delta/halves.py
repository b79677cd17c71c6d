"""What a write leaves on a local disk that was killed before its file had its name. A storage account keeps none.

Ours are hidden. Those of object_store, by which deltalake and obstore write, are called as their file with a number
behind: a name that it neither lists nor takes away.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.place import root

_NAME = re.compile(r"(^|/)(\.[0-9a-f]{16}\.tmp|[^/]+\.(parquet|json|crc|bin)#\d+|_last_checkpoint#\d+)$")


def halves(address: Address) -> dict[str, tuple[int, datetime]]:
    """Those below a table's folder, each with its bytes and its time (UTC), by name."""
    base = Path(root(address))
    files = [each for kind in ("*#*", ".*.tmp") for each in base.rglob(kind)] if address.is_local else []
    told = {each.relative_to(base).as_posix(): each.lstat() for each in files if each.is_file()}
    times = {name: datetime.fromtimestamp(each.st_mtime, UTC) for name, each in told.items() if _NAME.search(name)}
    return {name: (told[name].st_size, time) for name, time in times.items()}


def without_halves(address: Address, names: Collection[str]) -> list[str]:
    """Take those among these files away; gives the others."""
    gone = {name for name in names if address.is_local and _NAME.search(name)}
    for name in gone:
        Path(root(address), name).unlink(missing_ok=True)
    return [name for name in names if name not in gone]
