"""The answers of the routes: JSON, a page, or a problem document (RFC 9457), all with the same security headers."""

import json
from collections.abc import Mapping
from typing import Any

import azure.functions as func

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address may hold the caller's key
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""The headers of every answer. A page has another policy, which allows its own script and style."""
_TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Forbidden",
    404: "Not found",
    409: "Day is being exported",
    429: "Too much is queued",
    503: "Not available",
}


class Problem(Exception):
    """An answer that reports a problem. `more`: further members of the problem document."""

    def __init__(self, status: int, detail: str, *, title: str = "", **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title or _TITLES[status]
        self.document = {"type": "about:blank", "title": self.title, "status": status, "detail": detail, **more}


def as_json(
    code: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None, *, kind: str = "application/json"
) -> func.HttpResponse:
    """Answer with a JSON document."""
    return respond(code, json.dumps(body, ensure_ascii=False), kind, headers)


def respond(code: int, body: str | bytes, kind: str, headers: Mapping[str, str] | None = None) -> func.HttpResponse:
    """Answer with a document of this media type."""
    headers = {**HEADERS, **(headers or {})}
    return func.HttpResponse(body, status_code=code, headers=headers, mimetype=kind, charset="utf-8")
