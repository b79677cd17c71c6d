"""What a write leaves on a local disk that was killed before its file had its name. A storage account keeps none.

Ours are hidden. Those of object_store, by which deltalake and obstore write, are called as their file with a number
behind: a name that it neither lists nor takes away.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.place import root

_NAME = re.compile(r"(^|/)(\.[0-9a-f]{16}\.tmp|[^/]+\.(parquet|json|crc|bin)#\d+|_last_checkpoint#\d+)$")


def halves(address: Address) -> dict[str, tuple[int, datetime]]:
    """Those below a table's folder, each with its bytes and its time (UTC), by name."""
    base, found = Path(root(address)), dict[str, tuple[int, datetime]]()
    for file in [each for kind in ("*#*", ".*.tmp") for each in base.rglob(kind)] if address.is_local else ():
        with suppress(FileNotFoundError):  # of a write that is done by now
            name, told = file.relative_to(base).as_posix(), file.lstat()
            if _NAME.search(name) and S_ISREG(told.st_mode):
                found[name] = (told.st_size, datetime.fromtimestamp(told.st_mtime, UTC))
    return found


def without_halves(address: Address, names: Collection[str]) -> list[str]:
    """Take those among these files away; gives the others."""
    gone = {name for name in names if address.is_local and _NAME.search(name)}
    for name in gone:
        Path(root(address), name).unlink(missing_ok=True)
    return [name for name in names if name not in gone]
