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
        self.detail = detail
        self.title = title or _TITLES[status]
        self.more = more


def as_json(code: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> func.HttpResponse:
    """Answer with a JSON document."""
    return _answer(code, json.dumps(body, ensure_ascii=False), "application/json", headers)


def as_page(code: int, page: tuple[str, Mapping[str, str]]) -> func.HttpResponse:
    """Answer with a page for a browser."""
    text, headers = page
    return _answer(code, text, "text/html", headers)


def as_file(name: str, data: str | bytes, kind: str) -> func.HttpResponse:
    """Answer with a file that a browser saves under this name; the name is the app's own."""
    return _answer(200, data, kind, {"Content-Disposition": f'attachment; filename="{name}"'})


def as_problem(problem: Problem) -> func.HttpResponse:
    """Answer with a problem document."""
    body = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.more,
    }
    return _answer(problem.status, json.dumps(body, ensure_ascii=False), "application/problem+json")


def _answer(code: int, body: str | bytes, kind: str, headers: Mapping[str, str] | None = None) -> func.HttpResponse:
    return func.HttpResponse(
        body, status_code=code, headers={**HEADERS, **(headers or {})}, mimetype=kind, charset="utf-8"
    )
