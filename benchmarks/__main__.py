"""`make bench`: what the promises cost, against scripts by hand, a peer and plain Dagster, measured in the same run.

Usage: python -m benchmarks [measure …] [--size LINES] [--rounds N]. Without a measure all are made but `landing`,
`merges` and `history`, which are long; each is kept as soon as it is there. `publish` only writes docs/figures.md from
what is kept.
"""

import argparse
import sys
import time

from benchmarks import dagster_alone, history, idle, landing, merges, newest, secrets, side_by_side, starts, together
from benchmarks.figures import publish

MEASURES = {
    "year": side_by_side.year,
    "documents": side_by_side.documents,
    "lines": side_by_side.lines,
    "newest": newest.landed_file_to_gold_row,
    "idle": idle.nothing_new,
    "starts": starts.starts,
    "secrets": secrets.secrets,
    "together": together.together,
    "merges": merges.merges,
    "history": history.history,
    "overhead": dagster_alone.overhead_per_asset,
    "landing": landing.many_files,
}
LONG = ("landing", "merges", "history")


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    asked.add_argument("measures", nargs="*", metavar="measure", help=", ".join([*MEASURES, "publish"]))
    asked.add_argument("--size", type=lambda text: int(text.replace("_", "")), default=2_000_000, help="order lines")
    asked.add_argument("--rounds", type=int, default=3)
    said = asked.parse_args()
    if strangers := set(said.measures) - {*MEASURES, "publish"}:
        asked.error(f"there is no measure {min(strangers)}; there are {', '.join([*MEASURES, 'publish'])}")
    began = time.monotonic()
    for name in said.measures or [each for each in MEASURES if each not in LONG]:
        if name != "publish":
            for figures in MEASURES[name](rounds=said.rounds, size=said.size):
                figures.keep()
    publish()
    sys.stderr.write(f"Done in {(time.monotonic() - began) / 60:.0f} min.\n")


if __name__ == "__main__":
    main()
