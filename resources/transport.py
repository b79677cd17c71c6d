"""How Azure's clients connect: the certificates that are trusted are read once.

requests reads them anew for every connection: 20 ms each, and threads that connect together wait for one another.
"""

from __future__ import annotations

import os
from pathlib import Path
from ssl import SSLContext
from typing import Any

from azure.core.pipeline.transport import RequestsTransport
from requests import Session
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util import Retry
from urllib3.util.ssl_ import create_urllib3_context

from lakehouse.engine.declare.errors import Terminal
from resources.entra import one_each


def transport(**told: float) -> RequestsTransport:
    """For one client; `told` are a RequestsTransport's words, since the client tells none of its own to this one.

    As Azure's own: proxies and certificates by the usual variables, no retries.
    """
    session = Session()
    once = Retry(total=False, redirect=False)  # of 0 an error would repeat the URL, and the SAS token in it
    session.mount("https://", _Adapter(max_retries=once))
    session.mount("http://", HTTPAdapter(max_retries=once))
    return RequestsTransport(session=session, **told)


class _Adapter(HTTPAdapter):
    def build_connection_pool_key_attributes(self, *of: Any, **named: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        host, pool = super().build_connection_pool_key_attributes(*of, **named)
        named = pool.pop("ca_certs", None) or pool.pop("ca_cert_dir", None)
        return host, {**pool, "ssl_context": _trusting(str(named or DEFAULT_CA_BUNDLE_PATH))}

    def proxy_manager_for(self, proxy: str, **words: Any) -> Any:
        """A proxy that is spoken to by TLS is trusted by the same certificates."""
        named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        return super().proxy_manager_for(proxy, proxy_ssl_context=_trusting(named or DEFAULT_CA_BUNDLE_PATH), **words)

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The context knows whom to trust: told once more, every connection would read them anew."""


@one_each
def _trusting(named: str) -> SSLContext:
    """A file of certificates, or a folder of such, as it is now: what is exchanged later is not seen."""
    context = create_urllib3_context()
    try:
        context.load_verify_locations(**{"capath" if Path(named).is_dir() else "cafile": named})
    except OSError as wrong:
        raise Terminal(
            f"{named}, which REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, holds no certificates that can be read: "
            f"{wrong}. Mend the variable, or unset it. Nobody was asked."
        ) from wrong
    return context
