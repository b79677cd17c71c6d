"""Scripts as a machine of so many cores runs them, whatever this one has; and what they leave where memory ran out."""

from __future__ import annotations

import os
import re
import subprocess
import sys

_ENDED = r"memory allocation of \d+ bytes failed|MemoryError|can't start new thread|Cannot allocate memory"


GIVES_BACK = ",retain:false,dirty_decay_ms:0,muzzy_decay_ms:0"
"""What Polars' allocator has freed it keeps mapped, which the kernel's limit counts: here it is to be counted once."""


_HELPERS = """
import resource

def now(what):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(what))

def give_no_more_than(more):
    stacks = os.cpu_count() * (2 << 20)
    limit = now("VmData") + more + stacks
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
"""
"""The kernel counts the whole stack of a thread, 2 MiB of which it touches some KB; Polars starts more of them, to read
and write files, the busier the machine is: of 16 cores 87 to 104 were seen, at the same memory."""


def run(script: str, *arguments: object, cores: int, beside: str = "") -> subprocess.CompletedProcess[str]:
    """With the threads of so many cores, and Polars' memory as `import lakehouse` has it kept there; `beside`: more.

    The script has `now(a line of /proc/self/status)`, in bytes, and `give_no_more_than(bytes)`, which the kernel heeds.
    """
    told = f"os.environ['_RJEM_MALLOC_CONF'] += {beside!r}"
    script = f"import os; os.cpu_count = lambda: {cores}\nimport lakehouse; {told}\n{_HELPERS}{script}"
    env = {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**env, "POLARS_MAX_THREADS": str(cores)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def check_memory_ran_out(done: subprocess.CompletedProcess[str]) -> None:
    """It was ended by memory (or the stack of a thread) that it did not get, and by nothing else."""
    assert done.returncode != 0
    assert re.search(_ENDED, done.stderr), done.stderr[-2_000:]
    assert not done.stdout
