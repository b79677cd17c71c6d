"""Which known word was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """` (did you mean x?)`, to be put behind a word that is not known; empty where none is near."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {shown(close[0])}?)" if close else ""
