"""Secrets in text that others write: what a library logs of a URL, and what a script prints of its surroundings."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote

REDACTED = "***"
_SIGNATURE = re.compile(r"(?<=\bsig=)[^&\s\"']+", re.IGNORECASE)
_SHORTEST = 8
"""What is shorter is no secret, and would be found in any text."""


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with stars in the place of each secret, also where a URL spells it."""
    for secret in sorted({form for each in secrets for form in (each, quote(each, safe=""))}, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, REDACTED)
    return text


def keep_signatures_out_of_logs() -> None:
    """urllib3 logs each URL at DEBUG, and a SAS token is part of it."""
    for logger in (logging.getLogger("urllib3.connectionpool"), logging.getLogger("urllib3.util.retry")):
        logger.addFilter(_without_signature)  # added twice it is there once


def _without_signature(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            _SIGNATURE.sub(REDACTED, str(each)) if isinstance(each, str) else each for each in record.args
        )
    return True
