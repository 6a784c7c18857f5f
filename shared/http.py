"""HTTP sessions for Amplitude and for the storage: which proxy a request takes, and why a connection failed."""

import ipaddress
import re
import ssl
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

CONNECTIONS = 32

_CA_BUNDLE = re.compile(r"TLS CA certificate bundle|TLS certificate file")
_PROXY_STATUS = re.compile(r"Tunnel connection failed: ([0-9]{3})")
_PROXY = "(HTTPS_PROXY or ALL_PROXY in the environment)"
_BUNDLE = "the CA bundle that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names"
_NO_CERTIFICATE = ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE", "PEM_LIB")
_UNKNOWN_PROXIES = (
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,
    urllib3.exceptions.ProxySchemeUnknown,
    urllib3.exceptions.ProxySchemeUnsupported,
)


class Session(requests.Session):
    """A session that takes proxies and the CA bundle from the environment, and nothing else.

    Requests to this machine use no proxy, and redirects are not followed. `~/.netrc` is never read: a login from there
    would replace the `Authorization` header of the storage, and the account would receive it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = lambda request: request  # requests looks into netrc only where there is no authentication yet
        for scheme in ("https://", "http://"):
            self.mount(scheme, Adapter(pool_maxsize=CONNECTIONS))

    def merge_environment_settings(self, url: str | bytes, *arguments: Any) -> Any:  # type: ignore[override]  # noqa: ANN401 - as its base
        """Proxy, CA bundle and the like for one request."""
        settings = super().merge_environment_settings(url, *arguments)
        if is_loopback(urlsplit(str(url)).hostname or ""):
            settings["proxies"] = {}
        return settings

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect. `requests` would read its whole body into memory, even if it does not follow it."""


class Adapter(HTTPAdapter):
    """Loads a CA bundle once for the whole process: for each connection it would take 15 ms of processor time."""

    def build_connection_pool_key_attributes(self, *arguments: Any) -> Any:  # noqa: ANN401 - as its base
        """What tells one pool of connections from another; the second argument is `verify`."""
        host, pool = super().build_connection_pool_key_attributes(*arguments)
        if context := _context_of(arguments[1]):
            pool["ssl_context"] = context
            pool.pop("ca_certs", None)
        return host, pool

    def cert_verify(self, *arguments: Any) -> None:
        """Have new connections load the bundle, unless the context has it; the third argument is `verify`."""
        if not _context_of(arguments[2]):
            super().cert_verify(*arguments)  # type: ignore[no-untyped-call]


def _context_of(verify: Any) -> ssl.SSLContext | None:  # noqa: ANN401 - a path, or whether to verify at all
    """A context with the bundle. None if it is a folder or cannot be read: `requests` handles these itself."""
    bundle = Path(DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify))
    with suppress(OSError):
        return _loaded(bundle, bundle.stat().st_mtime_ns) if bundle.is_file() else None
    return None


@lru_cache(maxsize=4)
def _loaded(bundle: Path, _: int) -> ssl.SSLContext:
    """A context with this bundle, as it was at that time."""
    context = create_urllib3_context()
    context.load_verify_locations(bundle)
    return context


def is_loopback(host: str) -> bool:
    """Whether a host is this machine. Only such a host may be reached by plain http."""
    with suppress(ValueError):
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False


def host_of(url: str) -> str:
    r"""The host of a URL as `requests` reads it, empty if there is none.

    Other parsers find another one in `http://host\@127.0.0.1` or in `https://host%2Ecom`.
    """
    with suppress(urllib3.exceptions.LocationParseError):
        return (parse_url(url).host or "").strip("[]").lower()
    return ""


def is_protected(url: str) -> bool:
    """Whether nobody on the network can read a request to this URL: it uses https, or stays on this machine."""
    return url.lower().startswith("https:") or is_loopback(host_of(url))


def reason(error: BaseException) -> str:
    """Why a request failed, in words, without the text of the error: that may contain the URL."""
    chain = [error]
    while (cause := _cause(chain[-1])) and cause not in chain:
        chain.append(cause)
    return _of_tls(chain) or _of_proxy(chain) or type(chain[-1]).__name__


def _of_tls(chain: list[BaseException]) -> str:
    for one in chain:
        if isinstance(one, OSError) and _CA_BUNDLE.search(str(one)):
            return f"{_BUNDLE} does not exist"
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"certificate not trusted: {one.verify_message}"
        if isinstance(one, ssl.SSLError) and getattr(one, "reason", "") in _NO_CERTIFICATE:
            return f"{_BUNDLE} has no certificate"
    return ""


def _of_proxy(chain: list[BaseException]) -> str:
    if any(isinstance(one, _UNKNOWN_PROXIES) for one in chain):
        return f"the proxy's address {_PROXY} is malformed or has a scheme that is not supported: use http://host:port"
    texts = (str(one) for one in chain if isinstance(one, OSError))
    status = next((found[1] for text in texts if (found := _PROXY_STATUS.search(text))), "")
    if status == str(requests.codes.proxy_authentication):
        return f"the proxy answered 407: its address {_PROXY} needs a user and a password, or they are wrong"
    if status:
        return f"the proxy {_PROXY} answered {status}"
    if any(isinstance(one, requests.exceptions.ProxyError | urllib3.exceptions.ProxyError) for one in chain):
        return f"the proxy {_PROXY} cannot be reached: {type(chain[-1]).__name__}"
    return ""


def _cause(error: BaseException) -> BaseException | None:
    """The cause of an error. The Azure libraries keep it in a field, urllib3 in `reason` or in the arguments."""
    held = (getattr(error, "inner_exception", None), getattr(error, "reason", None), *error.args)
    inner = next((one for one in held if isinstance(one, BaseException)), None)
    return error.__cause__ or inner or error.__context__
