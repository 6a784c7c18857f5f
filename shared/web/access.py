"""Who may call a route: the checks of the sign-in with Microsoft Entra, and of requests from other sites."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func

from shared.http import is_protected
from shared.settings import sign_in_problem, uses_entra
from shared.web.answers import Problem

WRITE_ROLE = "Exports.Write"
"""The app role that POST and DELETE need with `EXPORT_HTTP_AUTH=entra`."""
_ROLE_CLAIMS = ("roles", "role", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role")
_ID_CLAIMS = ("oid", "http://schemas.microsoft.com/identity/claims/objectidentifier")
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `name` is for the log: an object id, or where the key was found; never the key.

    With a key, `provider` is empty: Azure has checked the key before it calls the app, and gives no details.
    """

    name: str
    provider: str = ""
    roles: frozenset[str] = frozenset()


def caller_of(request: func.HttpRequest, environ: Mapping[str, str]) -> Caller:
    """The caller that Azure names. This refuses nothing."""
    headers = request.headers
    if not uses_entra(environ):
        if headers.get("x-functions-key"):
            return Caller("key in x-functions-key")
        return Caller("key in the address" if "code" in request.params else "no key")
    principal = _principal(headers.get("X-MS-CLIENT-PRINCIPAL") or "")
    providers = {text.lower() for text in (principal.provider, headers.get("X-MS-CLIENT-PRINCIPAL-IDP")) if text}
    name = principal.name or headers.get("X-MS-CLIENT-PRINCIPAL-ID") or ""
    shown = name[:_MAX_NAME] if name.isprintable() else ""
    return Caller(shown or "nobody", providers.pop() if len(providers) == 1 else "", principal.roles)


def check(request: func.HttpRequest, caller: Caller, environ: Mapping[str, str]) -> None:
    """Refuse a caller who may not do this.

    Raises Problem: 503 if EXPORT_HTTP_AUTH is wrong, or relies on a sign-in that is off, 401 without a sign-in, 403
    for another provider, for a change without the role, and for a change from another site's page.
    """
    changes = request.method in ("POST", "DELETE")
    if off := sign_in_problem(environ):
        raise Problem(503, off, title="App settings are missing or wrong")
    if uses_entra(environ):
        if caller.name == "nobody":
            raise Problem(401, "Sign in first: these routes are for members of the organisation (Microsoft Entra ID).")
        if caller.provider != "aad":
            raise Problem(403, "Sign in with Microsoft Entra ID: no other provider may call these routes.")
        if changes and WRITE_ROLE not in caller.roles:
            raise Problem(
                403,
                f"Your account may read but not change anything: that needs the app role {WRITE_ROLE}. "
                "Ask an administrator of your organisation to assign it to you.",
            )
    if changes and _from_another_site(request):
        raise Problem(
            403, "A page of another site may not start or withdraw an export. Use the app's page, or a script."
        )


def _from_another_site(request: func.HttpRequest) -> bool:
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin and site is None:
        # Over plain http, anybody on the network can answer in place of this host.
        return origin.partition("://")[2] != urlsplit(request.url).netloc or not is_protected(origin)
    return site not in (None, "same-origin", "none")


def _principal(header: str) -> Caller:
    """The caller in Azure's header: base64 of a JSON object whose claims are a list or a mapping."""
    try:
        document = json.loads(base64.b64decode(header.replace("-", "+").replace("_", "/") + "==="))
        found = list(_claims(document.get("claims")))
        provider = document.get("auth_typ") or ""
    except (ValueError, AttributeError, RecursionError):
        return Caller("")
    ids = [value for name, value in found if name in _ID_CLAIMS]
    roles = frozenset(value for name, value in found if name in _ROLE_CLAIMS)
    return Caller(ids[0] if ids else "", provider if isinstance(provider, str) else "", roles)


def _claims(claims: object) -> Iterator[tuple[str, str]]:
    listed = claims if isinstance(claims, list) else []
    pairs: list[tuple[Any, Any]] = [(one.get("typ"), one.get("val")) for one in listed if isinstance(one, Mapping)]
    for name, value in claims.items() if isinstance(claims, Mapping) else pairs:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and isinstance(one, str):
                yield name, one
