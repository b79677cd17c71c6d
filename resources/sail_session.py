"""`sail_session.py script arguments…`: runs a script for Spark against a Sail server of its own, in one process.

It ends with the process that started it: that holds the other end of its standard input.
"""

import os
import runpy
import sys
import threading

from pysail.spark import SparkConnectServer


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock a daemon thread would hold when Python ends
        pass
    os._exit(1)


def main() -> None:
    """Run the script as if it had been called by itself."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    _, port = server.listening_address  # pyright: ignore[reportGeneralTypeIssues] # it listens
    os.environ["SPARK_REMOTE"] = f"sc://127.0.0.1:{port}"
    del sys.argv[0]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
