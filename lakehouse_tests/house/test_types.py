"""Table files and their specs are right for the strict type checker, which knows every frame method and every word."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lakehouse_tests.house.house import ROOT

PYRIGHT = ROOT / "node_modules/.bin/pyright"

MISSPELT = """# pyright: strict
from lakehouse import Frame, Gold, Overwrite, column, table
from lakehouse.tables.silver.orders import Orders


class Misspelt(Gold):
    \"\"\"One row per order.\"\"\"

    order_no: str = column("Order number", key=True, nulable=False)


@table(wite=Overwrite())
def misspelt(orders: Frame[Orders]) -> Frame[Misspelt]:
    return orders.selct("order_no")


@table(write=Overwrite(), owners="team:sales")
def right(orders: Frame[Orders]) -> Frame[Misspelt]:
    reveal_type(orders)
    return orders.select("order_no")
"""
EXPECTED = [
    (9, "reportUnknownVariableType", 'Type of "order_no" is unknown'),
    (9, "reportCallIssue", 'No parameter named "nulable"'),
    (12, "reportCallIssue", 'Argument missing for parameter "write"'),
    (12, "reportUntypedFunctionDecorator", "Untyped function decorator"),
    (12, "reportCallIssue", 'No parameter named "wite"'),
    (14, "reportUnknownMemberType", 'Type of "selct" is unknown'),
    (14, "reportUnknownVariableType", "Return type is unknown"),
    (14, "reportAttributeAccessIssue", 'Cannot access attribute "selct"'),
    (17, "reportArgumentType", '"Literal[\'team:sales\']" cannot be assigned to parameter "owners"'),
    (19, "", 'Type of "orders" is "LazyFrame"'),
]


def test_the_type_checker_accepts_tables_and_specs_and_sees_what_is_misspelt(tmp_path: Path):
    if not PYRIGHT.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true and pyright is missing: it comes from npm (make test)")
        pytest.skip("pyright is missing: it comes from npm (make test)")
    misspelt = tmp_path / "misspelt.py"
    misspelt.write_text(MISSPELT)
    asked = [str(PYRIGHT), "--outputjson", "lakehouse/tables", "lakehouse_tests/tables", str(misspelt)]
    said = json.loads(subprocess.run(asked, cwd=ROOT, check=False, capture_output=True, text=True).stdout)
    assert said["summary"]["filesAnalyzed"] >= 8
    told = said["generalDiagnostics"]
    assert {each["file"] for each in told} == {str(misspelt)}
    found = [(each["range"]["start"]["line"] + 1, each.get("rule", ""), each["message"]) for each in told]
    assert [(line, rule) for line, rule, _ in found] == [(line, rule) for line, rule, _ in EXPECTED]
    for (_, _, message), (_, _, part) in zip(found, EXPECTED, strict=True):
        assert part in message
