"""What is said of an error on a terminal, in a few lines."""

from __future__ import annotations

from pathlib import Path
from traceback import FrameSummary, TracebackException

from lakehouse.engine.declare.errors import DeclarationError, LakehouseError

_PACKAGE = Path(__file__).parents[2]
_ENGINE = _PACKAGE / "engine"
_OURS = (_ENGINE, _PACKAGE.parent / "resources", _PACKAGE / "cli.py")
_IMPORTED = "<module>"


def why_broken(error: Exception) -> str | None:
    """What is to be said of an error of ours, or of a file of the business that cannot be imported; None for all else.

    A declaration's error comes with its file and line, Python's own with file, line and source. Another error that was
    raised by the engine itself is one of the engine, whatever file made it happen.
    """
    told = TracebackException.from_exception(error)
    business = [each for each in told.stack if _is_business(each.filename)]
    if isinstance(error, LakehouseError):
        at = business[-1] if isinstance(error, DeclarationError) and business else None
        return f"{error}\n    {_shown(at)}, line {at.lineno}" if at else str(error)
    lines = list(told.format_exception_only())
    if isinstance(error, SyntaxError) and error.filename and _is_business(error.filename):
        at = FrameSummary(error.filename, error.lineno, _IMPORTED, line=error.text)
        return _said(at, lines[-1])  # file and line are said before it
    is_of_engine = told.stack[-1].filename.startswith(str(_ENGINE))
    if is_of_engine or not any(each.name == _IMPORTED for each in business):
        return None
    return _said(business[-1], "".join(lines))


def _is_business(file: str) -> bool:
    return Path(file).is_relative_to(_PACKAGE) and not any(Path(file).is_relative_to(each) for each in _OURS)


def _shown(at: FrameSummary) -> Path:
    file = Path(at.filename)
    return file.relative_to(_PACKAGE.parent) if file.is_relative_to(_PACKAGE.parent) else file


def _said(at: FrameSummary, error: str) -> str:
    return (
        f"{_shown(at)}, line {at.lineno}, cannot be imported:\n    {(at.line or '').strip()}\n{error.strip()}\n"
        "The whole traceback: dg check defs"
    )
