"""How Azure's clients connect: the certificates that are trusted are read once.

requests reads them anew for every connection: 20 ms each, and threads that connect together wait for one another.
"""

from __future__ import annotations

from ssl import SSLContext
from typing import Any

from azure.core.pipeline.transport import RequestsTransport
from requests import Session
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util import Retry
from urllib3.util.ssl_ import create_urllib3_context

from resources.entra import one_each


def transport() -> RequestsTransport:
    """For one client. As Azure's own: proxies and certificates by the usual variables, no retries of its own."""
    session = Session()
    once = Retry(total=False, redirect=False)  # of 0 an error would repeat the URL, and the SAS token in it
    session.mount("https://", _Adapter(max_retries=once))
    session.mount("http://", HTTPAdapter(max_retries=once))
    return RequestsTransport(session=session)


class _Adapter(HTTPAdapter):
    def build_connection_pool_key_attributes(self, *of: Any, **named: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        host, pool = super().build_connection_pool_key_attributes(*of, **named)
        file, folder = pool.pop("ca_certs", None), pool.pop("ca_cert_dir", None)
        return host, {**pool, "ssl_context": _trusting(None if folder else file or DEFAULT_CA_BUNDLE_PATH, folder)}

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The context knows whom to trust: told once more, every connection would read them anew."""


@one_each
def _trusting(file: str | None, folder: str | None) -> SSLContext:
    context = create_urllib3_context()
    context.load_verify_locations(file, folder)
    return context
