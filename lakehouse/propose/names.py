"""Names of files' fields → names that Python, pandera and Delta take."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Collection, Iterable

import lakehouse
from lakehouse.engine.declare.contract import PANDERAS_OWN
from lakehouse.engine.declare.sql_words import SQL_WORDS
from lakehouse.engine.declare.table import STORED_BESIDE

__all__ = ["camel", "is_field", "is_table", "of_columns", "singular", "snake", "words"]

# what the body of a generated class says: a column of that name would hide it
SAID = frozenset(
    {"Utc", "bool", "column", "date_text", "float", "int", "list", "local_time", "number_text", "str", "true_false"}
)
_DATES = ("date", "dt", "datetime")
LONGEST = 60


def snake(text: str) -> str:
    """`Exchange rate`, `CustomerID`, `Province/State` -> `exchange_rate`, `customer_id`, `province_state`; else ''."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    parted = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", plain)
    name = re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")[:LONGEST].rstrip("_")
    return name if name[:1].isalpha() else ""


def camel(name: str) -> str:
    """`erp_returns` -> `ErpReturns`."""
    return "".join(part.capitalize() for part in name.split("_"))


def singular(name: str) -> str:
    """`lines` -> `line`, where that is all there is to it."""
    return name[:-1] if name.endswith("s") and not name.endswith(("ss", "us", "is")) and len(name) > 2 else name  # noqa: PLR2004


def words(name: str) -> str:
    """`customer_id` -> `Customer id`."""
    return name.replace("_", " ").capitalize()


def of_columns(sent: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A column's name for each field's: itself where it may be, told apart where two would be one."""
    names: dict[str, str] = {}
    used = {*taken}
    for place, each in enumerate(sent, start=1):
        stem = each if _may_be_column(each) else snake(each) or f"column_{place}"
        if not _may_be_column(stem):
            stem = f"{stem}_value"
        name, count = stem, 1
        while name in used:
            count += 1
            name = f"{stem}_{count}"
        used.add(name)
        names[each] = name
    return names


def _may_be_column(name: str) -> bool:
    return (
        re.fullmatch("[a-z][a-z0-9_]*", name) is not None
        and len(name) <= LONGEST
        and not keyword.iskeyword(name)
        and name not in PANDERAS_OWN
        and name not in STORED_BESIDE
        and name not in SAID
        and name not in SQL_WORDS
    )


def is_field(name: str) -> bool:
    """Whether a field of an object may be declared as it is called: a Struct renames nothing."""
    return (
        re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) is not None
        and len(name) <= LONGEST
        and not keyword.iskeyword(name)
        and name not in SAID
        and not re.fullmatch("Decimal[0-9]+", name)
    )


def is_table(name: str) -> bool:
    """Whether a table may be called so: its function and its class hide nothing that their files say."""
    return (
        re.fullmatch("[a-z][a-z0-9_]*", name) is not None
        and not keyword.iskeyword(name)
        and not keyword.iskeyword(camel(name))
        and name not in {*SAID, *_DATES, "pl", "table", "sent"}
        and camel(name) not in lakehouse.__all__
        and not hasattr(builtins, name)
    )
