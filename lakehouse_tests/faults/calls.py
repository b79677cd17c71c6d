"""Every call that changes a lake's files: seen, counted, and one of them disturbed. See calls.c."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

NONE, BEFORE, AFTER, TORN, FULL, BROKEN = range(6)
POWER_CUT = "power cut"
ANY = "any"
"""The name of whatever call comes."""
FAULTS = {"before": BEFORE, "after": AFTER, "torn": TORN, POWER_CUT: AFTER, "no space": FULL, "broken": BROKEN}
WRITES = {"write", "pwrite"}

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DRAWN = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")


class Call(NamedTuple):
    """The nth call (from 1) of one name for one path below the lake; `*` and `~` stand for what is drawn at random."""

    name: str
    path: str
    nth: int = 1

    @property
    def faults(self) -> list[str]:
        """What can happen to it: only what is written has a half."""
        return [fault for fault in FAULTS if fault != "torn" or self.name in WRITES]


class Done(NamedTuple):
    """A call that was carried out: `number` is how many bytes, `other` the path that a link or a rename came from."""

    name: str
    path: str
    number: int
    other: str


def why_missing() -> str:
    return "" if shutil.which("cc") else "the crash tests need a C compiler (apt install gcc libc6-dev)"


def build(folder: Path) -> Path:
    """The library that is loaded before libc."""
    library = folder / "calls.so"
    source = Path(__file__).with_name("calls.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def arm(lake: Path, log: Path, call: Call = Call("", ""), fault: str = "") -> None:  # noqa: B008 # a value
    """From now on this process writes its calls down, and `fault` happens at `call`."""
    loaded = ctypes.CDLL(os.environ["LD_PRELOAD"])
    loaded.arm_calls(*map(os.fsencode, (lake, log, call.name, call.path)), call.nth, FAULTS.get(fault, NONE))


def done(log: Path) -> list[Done]:
    """What was carried out, in its order."""
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    return [Done(name, path, int(number), other) for name, path, number, other in lines if path]


def was_disturbed(log: Path) -> bool:
    return "disturbed\t" in log.read_text()


def calls(log: Path) -> list[Call]:
    """Each of them by what it is called in every run of the same work, whatever its threads did first."""
    counts, found = Counter[tuple[str, str]](), list[Call]()
    for each in done(log):
        which = each.name, _DRAWN.sub("*", _UUID.sub("~", each.path))
        counts[which] += 1
        found.append(Call(*which, counts[which]))
    return found
