"""What every script by hand needs and nobody measures against: which files are new, where the tables lie, the clock."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """New files in the order of their names, whether they are the first, where all lie, and where the tables do."""

    files: list[Path]
    is_first: bool
    landing: Path
    lake: Path

    def table(self, name: str) -> str:
        return str(self.lake / name)


def run(work: Callable[[Paths], None], pattern: str) -> None:
    """`work` on the files that lie in LANDING and were not there the last time; LAKE remembers their names."""
    landing, lake = map(Path, sys.argv[1:3])
    began = time.monotonic()
    remembered = lake / "taken.json"
    taken = json.loads(remembered.read_text()) if remembered.exists() else []
    names = sorted(str(file.relative_to(landing)) for file in landing.glob(pattern.format(day="*")))
    fresh = sorted(set(names) - set(taken))
    work(Paths([landing / name for name in fresh], not taken, landing, lake))
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps(names))
    print(f"worked {time.monotonic() - began:.3f} s")
