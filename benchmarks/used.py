"""Run a command and say what it used: `python -I -S used.py COMMAND …`.

A process of its own, and a small one: what a process has at most counts from its parent's size on.
"""

import json
import os
import subprocess
import sys
import time

if __name__ == "__main__":
    began = time.monotonic()
    process = subprocess.Popen(sys.argv[1:])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said = {
        "wall": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss / 1024,
    }
    print(f"used {json.dumps(said)}", flush=True)
    sys.exit(process.returncode)
