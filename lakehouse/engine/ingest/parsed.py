"""What every reader of files gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

REJECTED = pl.Schema({"source_file": pl.Int64, "source_row": pl.Int64, "raw": pl.String, "reason": pl.String})

type Reject = tuple[int, int, str, str]


@dataclass(frozen=True)
class Parsed:
    """What became of the records of some files: `accepted` and `rejected` together hold each of them once.

    accepted: the stored columns, `extra` (JSON object from JSON Pointer to unknown value, or null), `source_file`,
    `source_row`. rejected: both of these, `raw` (bytes that are no text as backslash escapes), `reason`.
    `source_file` is the file's place among those given, from 0; lines count from 1. unreadable: why nothing was taken
    of a file.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    unreadable: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def records(self) -> int:
        return self.accepted.height + self.rejected.height
