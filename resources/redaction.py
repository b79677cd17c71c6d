"""Secrets in text that others write: what a library logs of a URL, and what a script prints of its surroundings."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import parse_qs, quote, unquote, urlsplit

REDACTED = "***"
_SIGNATURE = re.compile(r"(?<=\bsig=)[^&\s\"']+", re.IGNORECASE)
_SHORTEST = 8
"""What is shorter is no secret, and would be found in any text."""
_known = set[str]()


def keep(secret: str) -> None:
    """Remember a secret that this process came to know; of a SAS token its signature, of a URL its password too."""
    _known.update([secret, secret.removeprefix("?"), *parse_qs(secret).get("sig", [])])
    with suppress(ValueError):  # it is no URL
        _known.add(unquote(urlsplit(secret).password or ""))


def known() -> Iterable[str]:
    return tuple(_known)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with stars in the place of each secret, also where a URL or JSON spells it."""
    for secret in sorted({form for each in secrets for form in _forms(each)}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def _forms(secret: str) -> Iterable[str]:
    is_one = len(secret) >= _SHORTEST
    return (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]) if is_one else ()


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
