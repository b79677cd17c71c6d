"""Scripts as a machine of so many cores runs them, whatever this one has; and what they leave where memory ran out."""

from __future__ import annotations

import os
import re
import subprocess
import sys

_ENDED = r"memory allocation of \d+ bytes failed|MemoryError|can't start new thread|Cannot allocate memory"


GIVES_BACK = ",retain:false,dirty_decay_ms:0,muzzy_decay_ms:0"
"""What Polars' allocator has freed it keeps mapped, which the kernel's limit counts: here it is to be counted once."""


def run(script: str, *arguments: object, cores: int, beside: str = "") -> subprocess.CompletedProcess[str]:
    """With the threads of so many cores, and Polars' memory as `import lakehouse` has it kept there; `beside`: more."""
    told = f"os.environ['_RJEM_MALLOC_CONF'] += {beside!r}"
    script = f"import os; os.cpu_count = lambda: {cores}\nimport lakehouse; {told}\n{script}"
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
