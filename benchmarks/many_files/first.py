"""Land all that lies there, batch by batch: `python -m benchmarks.many_files.first FILES_PER_BATCH`.

As `benchmarks.ours … alone`. Says in one sentence how long the batches took, and the most memory it had.
"""

import resource
import statistics
import sys
import time
from unittest.mock import patch

from benchmarks.many_files.tables.orders import sent_singly
from lakehouse.engine.declare.place import Place
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.ingest import landing as batches
from lakehouse.engine.orchestrate.bronze import land
from resources.environment import load_environment, storages


def main() -> None:
    connections = storages(load_environment())
    landing, lake = connections["landing"], connections["lake"]
    place = Place(lake=lake, landing=landing)
    took: list[float] = []
    while True:
        began = time.monotonic()
        if (delivery := land(sent_singly.declaration, place).delivery) is None:
            break
        deliver(delivery)
        took.append(time.monotonic() - began)
    first, last = (statistics.median(some) for some in (took[:10], took[-10:]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(took)} batches of {sys.argv[1]} files in {sum(took):.0f} s (one of the first {first:.1f} s, one of the "
        f"last {last:.1f} s), at most {memory:.0f} MB"
    )


if __name__ == "__main__":
    with patch.object(batches, "FILES_PER_BATCH", int(sys.argv[1])):
        main()
