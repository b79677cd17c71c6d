"""The only judge: a contract and the rows that came out → which rows stand, which fall, and why.

Each rule is one mask over the frame. Rules are pandera's `Check`s, asked one by one for their mask (0.46 s for 1 M rows
of which all fail; `validate` takes 32 s for that and puts raw values into its exception: FACTS.md, "pandera").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lakehouse.engine.declare.contract import Contract, columns_of, key_of, personal_of, row_checks_of
from lakehouse.engine.quality.masks import masked

KEY_RULE = "key_is_unique"
_SHORT = {
    "greater_than_or_equal_to": ("ge", ">="),
    "greater_than": ("gt", ">"),
    "less_than_or_equal_to": ("le", "<="),
    "less_than": ("lt", "<"),
    "equal_to": ("eq", "="),
    "not_equal_to": ("ne", "is not"),
}
_LONGEST = 40
_EXAMPLES = 10


@dataclass(frozen=True)
class Rule:
    """One rule: `holds` gives a Boolean series as long as the frame, true where the row is right, never null.

    `columns` are those it asks.
    """

    name: str
    description: str
    holds: Callable[[pl.DataFrame], pl.Series]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one rule found: how many of how many rows broke it."""

    rule: Rule
    failed: int
    of: int


@dataclass(frozen=True)
class Verdict:
    """`accepted` and `rejected` part the `rows` that came out; `reasons` (List(String)) is beside each rejected row.

    `is_accepted` is beside each row that came out. Of `personal` columns no value is told.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame
    reasons: pl.Series
    is_accepted: pl.Series
    outcomes: tuple[Outcome, ...]
    personal: tuple[str, ...] = ()

    @property
    def accepted(self) -> pl.DataFrame:
        return self.rows.filter(self.is_accepted) if self.rejected.height else self.rows

    @property
    def count(self) -> int:
        """How many are accepted."""
        return self.rows.height - self.rejected.height

    @property
    def broken(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.failed]

    def said(self, key: Sequence[str]) -> list[str]:
        """Each broken rule in words, with the first row that breaks it."""
        return [
            f"{each.failed:,} {each.rule.name} ({each.rule.description.removesuffix('.')}; "
            f"as in {self.examples(each.rule, key)[0]})"
            for each in self.broken
        ]

    def examples(self, rule: Rule, key: Sequence[str]) -> list[str]:
        """The first rows that break a rule: of each its `key` and the columns that the rule asks."""
        shown = list(dict.fromkeys([*key, *rule.columns])) or self.rejected.columns
        rows = self.rejected.filter(self.reasons.list.contains(rule.name)).select(shown).head(_EXAMPLES)
        told = masked(rows, self.personal).rows(named=True)
        return [", ".join(f"{name} = {_cut(str(row[name]))}" for name in shown) for row in told]


def rules(
    contract: type[Contract], *, unique: bool, never_null: Sequence[str] = (), marker: str | None = None
) -> list[Rule]:
    """Every rule of a contract, in the order of its columns. `unique` adds the key rule for tables written whole.

    never_null: columns that may not be null either, though the contract lets them: what rows are replaced by. marker:
    the column beside the contract's that says whether a row deletes.
    """
    found = list(_column_rules(contract, never_null))
    if marker:
        found.append(Rule(f"{marker}__not_null", f"{marker} says yes or no.", _not_null(marker), (marker,)))
    if unique and key_of(contract):
        found.append(_key_rule(key_of(contract)))
    schema: Any = contract.to_schema()  # pandera leaves its checks untyped
    by_name = {each.name: each for each in schema.checks}
    found += [
        Rule(each.name, each.description, _ask(by_name[each.name], None), tuple(each.claim().meta.root_names()))
        for each in row_checks_of(contract)
    ]
    return found


def judge(  # what is asked of whom
    contract: type[Contract],
    rows: pl.DataFrame,
    *,
    unique: bool,
    never_null: Sequence[str] = (),
    marker: str | None = None,
) -> Verdict:
    """Ask every rule about every row; of one that `marker` says to delete only those of its key.

    Shape: rows (n, c) → accepted (m, c) and rejected (n - m, c), each in the order of rows.
    """
    key = set(key_of(contract))
    outcomes: list[Outcome] = []
    stands = pl.repeat(True, rows.height, eager=True, dtype=pl.Boolean)
    broken: dict[str, pl.Series] = {}
    for rule in rules(contract, unique=unique, never_null=never_null, marker=marker):
        mask = rule.holds(rows)
        if marker and not key.issuperset(rule.columns):
            mask |= rows[marker].fill_null(value=False)
        failed = int((~mask).sum())
        outcomes.append(Outcome(rule, failed, rows.height))
        if failed:
            broken[rule.name] = ~mask
            stands &= mask
    rejected = rows.filter(~stands)
    reasons = _reasons(broken, ~stands)
    return Verdict(rows, rejected, reasons, stands, tuple(outcomes), personal_of(contract))


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"


def _reasons(broken: dict[str, pl.Series], rejected: pl.Series) -> pl.Series:
    if not broken:
        return pl.Series("reasons", [], dtype=pl.List(pl.String()))
    named = [
        pl.when(mask.filter(rejected)).then(pl.lit(name)).otherwise(None).alias(name) for name, mask in broken.items()
    ]
    return pl.select(named).select(reasons=pl.concat_list(pl.all()).list.drop_nulls()).to_series()


def _column_rules(contract: type[Contract], never_null: Sequence[str]) -> Iterator[Rule]:
    schema = contract.to_schema()
    for each in columns_of(contract):
        if not each.nullable or each.name in never_null:
            yield Rule(f"{each.name}__not_null", f"{each.name} is never empty.", _not_null(each.name), (each.name,))
        for check in schema.columns[each.name].checks:
            statistics: dict[str, Any] = check.statistics or {}
            short, sign = _SHORT.get(check.name, (check.name, None))
            bounds = ", ".join(str(value) if sign else f"{name}={value}" for name, value in statistics.items())
            said = f"{each.name} {sign or short} {bounds}".strip()
            yield Rule(f"{each.name}__{short}", said, _ask(check, each.name), (each.name,))


def _not_null(name: str) -> Callable[[pl.DataFrame], pl.Series]:
    return lambda rows: rows.get_column(name).is_not_null()


def _ask(check: Any, name: str | None) -> Callable[[pl.DataFrame], pl.Series]:
    def holds(rows: pl.DataFrame) -> pl.Series:
        mask = check(rows.lazy(), name).check_output.collect().to_series()
        return mask.new_from_index(0, rows.height) if mask.len() == 1 != rows.height else mask

    return holds


def _key_rule(key: list[str]) -> Rule:
    def holds(rows: pl.DataFrame) -> pl.Series:
        return rows.select(~pl.struct(key).is_duplicated()).to_series()

    return Rule(KEY_RULE, f"No two rows have the same {', '.join(key)}.", holds)
