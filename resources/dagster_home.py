"""Dagster's own folder: runs, events, schedules. It moves with LAKEHOUSE_HOME."""

import shlex
import shutil
import sys
from pathlib import Path

from resources.environment import lakehouse_home


def dagster_home(home: Path | None = None) -> Path:
    """Make `<home>/dagster` ready and return it. What lies there, also an edited dagster.yaml, is left alone."""
    folder = (home or lakehouse_home()) / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        shutil.copyfile(Path(__file__).with_name("dagster.yaml"), settings)
    return folder


if __name__ == "__main__":
    ready = str(dagster_home())
    sys.stdout.write(f"export DAGSTER_HOME={shlex.quote(ready)}\n" if "--export" in sys.argv else f"{ready}\n")
