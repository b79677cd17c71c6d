"""`except Exception` swallows what nobody thought of. Each place that does has a reason."""

import ast

from lakehouse_tests.house.house import python_files

REASONS = {
    "lakehouse/cli.py": "the boundary where our errors become a line on the terminal; all others are raised again",
    "lakehouse/engine/declare/trial.py": "a transform is the user's code: whatever it raises becomes a refusal at load",
    "lakehouse/engine/delta/foreign.py": "a panic of delta-rs is told by its name alone; all others are raised again",
    "lakehouse/engine/ingest/misfit.py": "whatever a library raises at a file's bytes says that they are broken",
    "resources/key_vault.py": "what a thread meets is raised where its secret is waited for",
}
EVERYTHING = {"Exception", "BaseException"}


def catches_everything(tree: ast.Module) -> int:
    caught = [node.type for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return sum(
        kind is None or any(isinstance(each, ast.Name) and each.id in EVERYTHING for each in ast.walk(kind))
        for kind in caught
    )


def test_only_named_boundaries_catch_everything():
    found = {
        name: count for name, tree in python_files("lakehouse/", "resources/") if (count := catches_everything(tree))
    }
    assert found == dict.fromkeys(REASONS, 1)


def test_every_way_of_catching_everything_is_seen():
    for caught in ("", " Exception", " BaseException as error", " (ValueError, Exception)"):
        assert catches_everything(ast.parse(f"try:\n    f()\nexcept{caught}:\n    pass")) == 1
    assert catches_everything(ast.parse("try:\n    f()\nexcept (ValueError, OSError):\n    pass")) == 0
