"""Every check that a run of a silver or gold table reports."""

from __future__ import annotations

import polars as pl

from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import VALID_TO, History, Merge, ReplacePartition
from lakehouse.engine.orchestrate.corrections import watches_corrections
from lakehouse.engine.orchestrate.history import FOLLOWS
from lakehouse.engine.orchestrate.inputs import replaced_group
from lakehouse.engine.orchestrate.work import CheckSpec
from lakehouse.engine.quality.verdict import Verdict, judge, rules

SHAPE, READS, CONSERVES, CORRECTIONS = "shape", "reads_exactly", "conserves", "corrections_hold_what_they_held"
WITHIN, FOLLOW = "stays_within_its_slices", "versions_follow_each_other"


def checks_of(declared: Declaration) -> list[CheckSpec]:
    """Every check that a run of the table reports."""
    specs = [CheckSpec(SHAPE, "The transform returns the declared columns and types.", blocking=True)]
    if any(read.upstream.is_bronze for read in declared.reads):
        specs.append(CheckSpec(READS, "Every value of the upstream reads exactly as its declared type.", blocking=True))
    unique, group, marker = _unique(declared), _never_null(declared), declared.marker
    asked = rules(declared.contract, unique=unique, never_null=group, marker=marker)
    specs += [CheckSpec(each.name, each.description, blocking=True) for each in asked]
    if declared.conserves is not None:
        specs.append(CheckSpec(CONSERVES, "What came out, and what was set aside, is what was read.", blocking=True))
    if isinstance(declared.write, ReplacePartition) and not declared.is_written_whole:
        specs.append(CheckSpec(WITHIN, "Every row that comes out is of a slice that the run replaces.", blocking=True))
    if isinstance(declared.write, History):
        specs.append(CheckSpec(FOLLOW, FOLLOWS, blocking=True))
    if watches_corrections(declared):
        specs.append(
            CheckSpec(CORRECTIONS, "A corrected file still holds every key that it held before.", blocking=False)
        )
    return specs


def verdict_on(declared: Declaration, out: pl.DataFrame) -> Verdict:
    """Ask every rule of the contract about every row that came out, with what the table fills by itself."""
    if isinstance(declared.write, History):
        until = pl.lit(None, declared.schema[VALID_TO]).alias(VALID_TO)
        out = out.with_columns(until).select(*declared.schema, *filter(None, [declared.marker]))
    unique, group, marker = _unique(declared), _never_null(declared), declared.marker
    return judge(declared.contract, out, unique=unique, never_null=group, marker=marker)


def _unique(declared: Declaration) -> bool:
    """A merge keeps the later of two rows of one key; where a table is written whole, two are an error."""
    return not isinstance(declared.write, Merge | History)


def _never_null(declared: Declaration) -> list[str]:
    group = replaced_group(declared)
    return [group] if group else []
