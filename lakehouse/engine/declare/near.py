"""Which known word was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """` (did you mean x?)`, to be put behind a word that is not known; empty where none is near."""
    names = list(known)
    close = get_close_matches(word, names, n=1) or [name for name in names if word and name.startswith(word)]
    return f" (did you mean {shown(close[0])}?)" if close else ""
