"""A table of many files. Whoever loads it logs what it opens of the landing, where LOG_OF_OPENED says to."""

import os
import time

from lakehouse_tests.opened import tell

if name := os.environ.get("LOG_OF_OPENED"):
    log = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(kind: str, _: str) -> None:
        os.write(log, f"{time.time():.6f} {kind}\n".encode())

    tell(f"{os.environ['LAKEHOUSE_HOME']}/landing", write)
