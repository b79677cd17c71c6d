"""An environment like `local` that names no Spark: what runs on one is left out, which saves seconds in every run."""

from __future__ import annotations

from pathlib import Path

from resources.environment import SHIPPED

NAME = "without_spark"


def local_without_spark() -> str:
    """The settings of `local`, without those of Spark."""
    lines = (SHIPPED / "local.yaml").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if "spark" not in line and "sail" not in line)


def without_spark(home: Path) -> dict[str, str]:
    """Makes the environment in a home; gives the variables that name both."""
    file = home / "environments" / f"{NAME}.yaml"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(local_without_spark())
    return {"LAKEHOUSE_HOME": str(home), "LAKEHOUSE_ENVIRONMENT": NAME}
