"""The README shows files as they are."""

import re

from lakehouse_tests.house.house import ROOT

_BLOCK = re.compile(r"```python\n# (lakehouse\S*\.py)\n(.*?)```", re.DOTALL)


def test_the_table_files_in_the_readme_are_those_of_the_project():
    blocks = dict(_BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    tables = ROOT / "lakehouse/tables"
    files = {name: ROOT / name for name in blocks if (ROOT / name).exists()}
    if any(tables.rglob("*.py")):  # a business of its own has deleted them
        assert {file.parent.name for file in files.values()} == {"bronze", "silver", "gold"}
    assert {name: blocks[name] for name in files} == {name: file.read_text("utf-8") for name, file in files.items()}
