"""What a power cut leaves of a folder, worked out from the calls that were made to it.

The hardest reading of POSIX: what was not synced since it was written may be there, cut, zeros or empty; a name whose
folder was not synced may be there or not; what was taken away is gone.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lakehouse_tests.faults.calls import Done


class Disk:
    """Which bytes and which names are on the disk, and which only in memory."""

    def __init__(self, before: Path, calls: Iterable[Done]) -> None:
        """before: the folder as it was when the first of the calls was made; all of it is on the disk."""
        self._before, self._numbers = before, itertools.count()
        self._file = dict[str, int]()
        """By its name a number of each file: a link is another name of the same one."""
        self.unsynced = set[int]()
        self.unnamed = set[str]()
        for call in calls:
            self._take(call)

    def names(self, file: int) -> list[str]:
        return [name for name, number in self._file.items() if number == file]

    def _take(self, call: Done) -> None:
        match call.name:
            case "open":
                file = self._number(call.path)
                if call.number:  # made empty
                    self.unsynced.add(file)
            case "write" | "pwrite" | "truncate" | "copy" | "allocate":
                self.unsynced.add(self._number(call.path))
            case "fsync":
                self.unsynced.discard(self._file.get(call.path, -1))
                self.unnamed = {name for name in self.unnamed if _folder(name) != call.path}
            case "mkdir":
                self.unnamed.add(call.path)
            case "link" | "rename":
                self._file[call.path] = self._number(call.other)
                self.unnamed.add(call.path)
                if call.name == "rename":
                    self._forget(call.other)
            case "unlink" | "rmdir":
                self._forget(call.path)
            case _:
                raise ValueError(call)

    def _number(self, name: str) -> int:
        if name not in self._file:
            self._file[name] = next(self._numbers)
            if not (self._before / name).exists():
                self.unnamed.add(name)
        return self._file[name]

    def _forget(self, name: str) -> None:
        self._file.pop(name, None)
        self.unnamed.discard(name)


def cut(folder: Path, before: Path, calls: Iterable[Done], seed: int) -> None:
    """Leave of the folder what the disk has, and of the rest what the seed draws."""
    disk, draw = Disk(before, calls), random.Random(seed)
    for file in sorted(disk.unsynced):
        for name in disk.names(file)[:1]:
            content = (folder / name).read_bytes()
            half = content[: len(content) // 2]
            left = [b"", half, half + bytes(len(content) - len(half)), content]
            (folder / name).write_bytes(draw.choice(left))
    for name in sorted(disk.unnamed):
        if draw.random() < 2 / 3:
            lost = folder / name
            shutil.rmtree(lost) if lost.is_dir() else lost.unlink(missing_ok=True)


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)
