"""Which files of a landing are read for a proposal, and what is said of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lakehouse.engine.declare.errors import FileGone, LakehouseError, LeadsOut, WrongUsage
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Found, Storage
from lakehouse.engine.ingest.misfit import OverLimit
from lakehouse.engine.ingest.reader import sha256_of
from lakehouse.engine.ingest.unpack import Unreadable, unpack

__all__ = ["FILES", "Sample", "SampledFile", "taken"]

FILES = 50
PACKED_BYTES = 32 << 20
UNPACKED_BYTES = 256 << 20


@dataclass(frozen=True)
class SampledFile:
    """A file that was read: its name, and its content, unpacked."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Sample:
    """Files of a pattern that were read, by name; of `listed`; `repeats` have the content of another one.

    `left_out` says of files that could not be read, or were not as they cost too much, why.
    """

    pattern: str
    listed: Sequence[Found]
    files: Sequence[SampledFile]
    packed_bytes: int
    repeats: int = 0
    left_out: Sequence[str] = field(default_factory=list[str])

    @property
    def is_whole(self) -> bool:
        return len(self.files) + self.repeats == len(self.listed)

    def __str__(self) -> str:
        came = len(self.files) + self.repeats
        said = f"read {came:,} of {number(len(self.listed), 'file')}, {_size(self.packed_bytes)}"
        return f"{said}; {self.repeats:,} of them hold what another one does" if self.repeats else said


def taken(storage: Storage, pattern: str, *, whole: bool = False) -> Sample:
    """Read the files of a pattern: all, or some that are spread evenly over the listing, the first and last with them.

    Raises WrongUsage where there is none.
    """
    listed = storage.files(pattern)
    if not listed:
        raise WrongUsage(
            f"No file below {storage.address()} is called {pattern!r} ('*' stays within a folder, and names that begin "
            "with '.' or '_' or end in .tmp or .part are not listed). Nothing was written."
        )
    files: dict[str, SampledFile] = {}
    left_out: list[str] = []
    packed = unpacked = repeats = 0
    for found in listed if whole else _spread(listed):
        if not whole and unpacked > UNPACKED_BYTES:
            left_out.append(f"{found.name}: {_size(unpacked)} were read by then")
            continue
        try:
            content = storage.read(found.name)
            text = unpack(found.name, content)
        except (Unreadable, FileGone, LeadsOut, OverLimit) as why:
            left_out.append(str(why) if isinstance(why, LakehouseError) else f"{found.name}: {why}")
            continue
        packed += len(content)
        unpacked += len(text)
        repeats += sha256_of(content) in files
        files.setdefault(sha256_of(content), SampledFile(found.name, text))
    return Sample(pattern, listed, list(files.values()), packed, repeats, left_out)


def _spread(listed: Sequence[Found]) -> Sequence[Found]:
    count = min(FILES, len(listed))
    while True:
        some = [listed[place * (len(listed) - 1) // max(count - 1, 1)] for place in range(count)]
        if count == 1 or sum(each.size for each in some) <= PACKED_BYTES:
            return some
        count -= 1


def _size(count: int) -> str:
    megabytes = count / 1e6
    return f"{megabytes:,.1f} MB" if megabytes >= 1 else f"{count / 1e3:,.1f} kB"
