"""What `lakehouse …` is doing: one line of a terminal, which goes when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


@contextmanager
def watched(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done inside; what it gives says it anew. Nothing is shown where `console` is no terminal."""
    from lakehouse.engine.orchestrate.progress import watching

    with console.status(f"{what} …") as line:

        def tell(said: str) -> None:
            line.update(f"{escape(said)} …")

        with watching(tell):
            yield tell
