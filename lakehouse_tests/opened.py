"""What this process opens below a folder, told by Python itself: no code can open a file or list a folder past it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

KINDS = {"open": "read", "os.scandir": "list", "os.listdir": "list"}


def tell(below: str, hear: Callable[[str, str], object]) -> None:
    """Call `hear(kind, path)` for each folder that is listed ("list") and each file that is opened ("read").

    From now on and for good: Python knows no way back. What another library opens without Python is not heard.
    """

    def told(event: str, arguments: tuple[object, ...]) -> None:
        if (kind := KINDS.get(event)) and isinstance(what := arguments[0], str | os.PathLike):
            path = str(os.fspath(what))
            if path.startswith(below):
                hear(kind, path)

    sys.addaudithook(told)
