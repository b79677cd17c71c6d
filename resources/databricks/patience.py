"""How the workspace is asked: what passes is asked again by the SDK's own retries, what does not becomes ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from databricks.sdk.errors import DeadlineExceeded, InternalError, TemporarilyUnavailable, TooManyRequests
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.retries import retried

from lakehouse.engine.declare.errors import Terminal, Transient

OUTAGE = timedelta(minutes=5)
"""So long an outage is sat out: a job goes on meanwhile."""

_PASSING = [InternalError, DeadlineExceeded, TemporarilyUnavailable, TooManyRequests]
"""429 and 503 the SDK asks again by itself, for a while; 500 and 504 it does not."""


def asked[**P, R](call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What a call answers. Raises Transient or Terminal, in the workspace's words.

    The same request may go out several times: let it be one that may.
    """
    try:
        return retried(on=_PASSING, timeout=OUTAGE)(call)(*arguments, **named)
    except TimeoutError as outage:
        raise Transient(f"The workspace did not answer as it should for {OUTAGE}: {outage.__cause__}") from outage
    except DatabricksError as refused:
        kind = type(refused).__name__
        raise Terminal(f"The workspace refused ({kind}): {refused}") from refused
