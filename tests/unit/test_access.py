"""Who may call a route, by what the platform says of the caller."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping

import azure.functions as func
import pytest

from shared.errors import StorageUnavailable
from shared.web import routes
from shared.web.answers import HEADERS, as_json

ENTRA = {"EXPORT_HTTP_AUTH": "Entra", "WEBSITE_AUTH_ENABLED": "True"}
ME = "00000000-0000-4000-8000-000000000001"
LONG_ID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
LONG_ROLE = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"


def principal(*claims: tuple[object, object], provider: object = "aad") -> dict[str, str]:
    """The header of a caller with these claims."""
    document = {"auth_typ": provider, "claims": [{"typ": name, "val": value} for name, value in claims]}
    return encoded(json.dumps(document))


def encoded(text: str) -> dict[str, str]:
    return {"X-MS-CLIENT-PRINCIPAL": base64.b64encode(text.encode()).decode()}


def request(method: str, headers: Mapping[str, str], **params: str) -> func.HttpRequest:
    return func.HttpRequest(
        method, "https://app.example/api/exports/2025-11-04", headers=headers, params=params,
        route_params={"date": "2025-11-04"}, body=b"",
    )  # fmt: skip


def answer(
    method: str = "GET", headers: Mapping[str, str] | None = None, environ: Mapping[str, str] = ENTRA, **params: str
) -> tuple[int, str]:
    """Status and body of a route that answers with `done`."""
    response = routes.answer(request(method, headers or {}, **params), lambda: as_json(200, {"is": "done"}), environ)
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    return response.status_code, response.get_body().decode()


READER = principal(("oid", ME))
WRITER = principal((LONG_ID, ME), ("roles", "Exports.Write"))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("headers", [{}, WRITER, {"x-functions-key": "k"}])
@pytest.mark.parametrize("value", ["entra", "Entra", " ENTRA "])
def test_while_the_sign_in_is_off_nobody_may(method: str, headers: dict[str, str], value: str) -> None:
    """Whatever headers a request has: without the platform in front of the app anyone can send them."""
    code, body = answer(method, headers, {"EXPORT_HTTP_AUTH": value})
    assert (code, "WEBSITE_AUTH_ENABLED" in body) == (503, True)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_while_it_is_unclear_who_may_nobody_may(method: str) -> None:
    code, body = answer(method, WRITER, {"EXPORT_HTTP_AUTH": "entraa", "WEBSITE_AUTH_ENABLED": "True"})
    assert (code, "EXPORT_HTTP_AUTH must be function or entra" in body) == (503, True)


BROKEN = ["", "%", "eyJ9", "bm90IGpzb24=", "é", "A" * 8000]
OTHER_JSON = ["[]", "null", '"x"', "7", "[" * 5000, "{}", '{"claims": 5}', '{"claims": ["x", {"typ": [], "val": {}}]}']
NOT_PRINCIPALS = [{"X-MS-CLIENT-PRINCIPAL": text} for text in BROKEN] + [encoded(text) for text in OTHER_JSON]


@pytest.mark.parametrize("headers", [{}, {"x-functions-key": "k"}, *NOT_PRINCIPALS])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_nobody_calls_without_a_sign_in(method: str, headers: dict[str, str]) -> None:
    code, body = answer(method, headers)
    assert (code, "Sign in first" in body) == (401, True)


@pytest.mark.parametrize(
    "headers",
    [
        *(principal(("oid", ME), provider=other) for other in ("github", "", ["aad"])),
        READER | {"X-MS-CLIENT-PRINCIPAL-IDP": "google"},
        {"X-MS-CLIENT-PRINCIPAL-ID": ME},
        {"X-MS-CLIENT-PRINCIPAL-ID": ME, "X-MS-CLIENT-PRINCIPAL-IDP": "facebook"},
    ],
)
def test_no_other_provider_may(headers: dict[str, str]) -> None:
    for method in ("GET", "POST", "DELETE"):
        code, body = answer(method, headers)
        assert (code, "Microsoft Entra ID" in body) == (403, True)


@pytest.mark.parametrize(
    "headers",
    [
        READER,
        READER | {"X-MS-CLIENT-PRINCIPAL-IDP": "AAD"},
        principal(("oid", ME), ("roles", "exports.write"), ("roles", "Exports.Write.All"), ("name", "Exports.Write")),
        principal(("oid", ME), ("roles", {"Exports.Write": 1}), (["roles"], "Exports.Write")),
        {"X-MS-CLIENT-PRINCIPAL-ID": ME, "X-MS-CLIENT-PRINCIPAL-IDP": "aad"},
    ],
)
def test_whoever_is_signed_in_may_read_and_only_the_role_may_change(headers: dict[str, str]) -> None:
    assert answer("GET", headers)[0] == 200
    for method in ("POST", "DELETE"):
        code, body = answer(method, headers)
        assert (code, "Exports.Write" in body) == (403, True)


@pytest.mark.parametrize(
    "headers",
    [
        WRITER,
        principal(("oid", ME), ("role", "Exports.Write")),
        principal(("oid", ME), (LONG_ROLE, "Other"), (LONG_ROLE, "Exports.Write")),
        principal(("oid", ME), ("roles", ["Other", "Exports.Write"])),
        encoded(json.dumps({"auth_typ": "aad", "claims": {"oid": ME, "roles": ["Exports.Write"]}})),
        {name: value.rstrip("=").replace("+", "-").replace("/", "_") for name, value in WRITER.items()},
        principal(("roles", "Exports.Write")) | {"X-MS-CLIENT-PRINCIPAL-ID": ME},
    ],
)
def test_the_role_may_change(headers: dict[str, str]) -> None:
    """In each form in which the platform hands claims on."""
    for method in ("GET", "POST", "DELETE"):
        assert answer(method, headers)[0] == 200
        other_site = headers | {"Sec-Fetch-Site": "cross-site"}
        assert answer(method, other_site)[0] == (200 if method == "GET" else 403)


@pytest.mark.parametrize(("origin", "code"), [("https://app.example", 200), ("http://app.example", 403)])
def test_a_page_that_anybody_on_the_network_could_send_is_another_sites(origin: str, code: int) -> None:
    """Old browsers send no `Sec-Fetch-Site`."""
    assert answer("POST", WRITER | {"Origin": origin})[0] == code


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    found = [json.loads(record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


def test_a_log_line_says_who_changed_or_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    """And never a key; looking leaves none."""
    caplog.set_level(logging.INFO)
    secret = "marker" * 8
    facts = {"date": "2025-11-04", "replace": "true", "missing": "m" * routes.MAX_LOGGED}
    for environ, headers, caller, code in (
        (ENTRA, WRITER, ME, 200),
        (ENTRA, READER, ME, 403),
        (ENTRA, {}, "nobody", 401),
        (ENTRA, principal(("oid", "a\x1b[31m"), ("roles", "Exports.Write")), "nobody", 401),
        ({}, {"x-functions-key": secret}, "key in x-functions-key", 200),
        ({}, {"Sec-Fetch-Site": "cross-site"}, "key in the address", 403),
        ({"EXPORT_HTTP_AUTH": "entra"}, WRITER, ME, 503),
    ):
        assert answer("POST", headers, environ, replace="true", missing="m" * 99, code=secret, other=secret)[0] == code
        assert secret not in caplog.text
        (line,) = events(caplog)
        assert line.pop("reason", "") or code == 200
        event = "http_changed" if code == 200 else "http_refused"
        assert line == {"event": event, "caller": caller, "method": "POST", "status": code} | facts
    answer("GET", READER)
    assert events(caplog) == []
    page = routes.answer(request("GET", {"Accept": "text/html"}), lambda: as_json(200, {}), ENTRA)
    assert (page.status_code, b"/.auth/logout" in page.get_body()) == (401, False), "nobody is there to sign out"
    assert [line["event"] for line in events(caplog)] == ["http_refused"]


@pytest.mark.parametrize(("error", "code"), [(StorageUnavailable("It does not answer."), 503), (KeyError("a"), 500)])
def test_a_failure_is_logged_with_its_caller(caplog: pytest.LogCaptureFixture, error: Exception, code: int) -> None:
    """Only what may pass is called unavailable."""

    def fail() -> func.HttpResponse:
        raise error

    assert routes.answer(request("POST", WRITER), fail, ENTRA).status_code == code
    assert [line["event"] for line in events(caplog)] == ["http_failed", "http_refused"]
