"""The routes, through Microsoft's worker library: what is answered, what is refused, and what is never said."""

from __future__ import annotations

import html
import json
import re
import uuid
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import azure.functions as func
import pytest
import requests
from azure.core.exceptions import ServiceRequestError
from azure.storage.blob import BlobLeaseClient, ContainerClient
from azure.storage.queue import QueueClient

import function_app
from local.azurite import KEY, Azurite
from local.host import FunctionsHost
from shared.app import open_app
from shared.dates import COMPLETE_AFTER, end_of, newest_complete_day
from shared.days.documents import iso
from shared.days.state import RunState, Trigger
from shared.days.status import RunStatus
from shared.runs.messages import Order
from shared.web.answers import HEADERS
from tests.doubles.memory import MemoryClient
from tests.unit.test_access import READER, WRITER

ROOT = Path(__file__).resolve().parents[2]
HELD = date(2020, 1, 1)
"""The day that the worker is held at."""
NUMBERS = count()


@pytest.fixture
def day() -> date:
    """A day that no other test here asks for."""
    return date(2024, 2, 1) + timedelta(days=next(NUMBERS))


@pytest.fixture
def blobs(held_environ: dict[str, str], held_host: FunctionsHost) -> Iterator[ContainerClient]:
    """The app's container."""
    assert held_host.url
    connection = held_environ["EXPORT_STORAGE"]
    with ContainerClient.from_connection_string(connection, held_environ["EXPORT_CONTAINER"]) as container:
        yield container


@pytest.fixture
def queue(held_environ: dict[str, str], held_host: FunctionsHost) -> Iterator[QueueClient]:
    """The app's queue, emptied: no more messages come than can be looked at."""
    assert held_host.url
    connection = held_environ["EXPORT_STORAGE"]
    with closing(QueueClient.from_connection_string(connection, held_environ["EXPORT_QUEUE"])) as queue:
        queue.clear_messages()
        yield queue


class Here:
    """The functions in this process: what no host is needed for."""

    url, auth = "https://app.example", {"x-functions-key": "host-key-marker"}

    def __init__(self) -> None:
        self.sent: list[str] = []
        """The messages that were queued."""

    def answer(self, asked: requests.PreparedRequest) -> requests.Response:
        """What the function of this method and path answers."""
        parts = urlsplit(str(asked.url))
        day = parts.path.removeprefix("/api/exports").strip("/")
        query = {name: ",".join(values) for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        request = func.HttpRequest(
            str(asked.method), str(asked.url), headers=asked.headers, params=query, route_params={"date": day}, body=b""
        )
        name = {"POST": "rerun" if day else "backfill", "GET": "status" if day else "coverage"}.get(asked.method or "")
        function = getattr(function_app, name or "withdraw").build().get_user_function()
        said = function(request, *[SimpleNamespace(set=self.sent.extend)] * (asked.method == "POST"))
        response = requests.Response()
        response.status_code, response._content, response.encoding = said.status_code, said.get_body(), "utf-8"  # noqa: SLF001
        response.headers.update(said.headers)
        response.headers["Content-Type"] = said.mimetype + "; charset=utf-8" * said.mimetype.startswith("text/html")
        return response


@pytest.fixture
def here(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """The functions in this process, with HELD queued."""
    with open_app(environ) as app:
        app.runs.ask(HELD, Trigger.HTTP)
        monkeypatch.setattr(function_app, "opened", lambda: app)
        yield Here()


def ask(host: FunctionsHost | Here, method: str, path: str, **headers: str) -> requests.Response:
    """Ask with the host's key, by exactly this path, and check what holds for every answer of the app."""
    request = requests.Request(method, host.url, headers={**host.auth, **headers}).prepare()
    request.url = f"{host.url}/api/exports{path}"
    if isinstance(host, Here):
        answer = host.answer(request)
    else:
        with requests.Session() as session:
            answer = session.send(request, timeout=60, allow_redirects=False)
    said = answer.text + str(answer.headers)
    assert [secret for secret in ("marker", KEY, "Traceback", 'File "') if secret in said] == []
    assert {name for name, value in HEADERS.items() if answer.headers[name] != value} <= {"Content-Security-Policy"}
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    return answer


def problem(answer: requests.Response, status: int, **more: Any) -> str:
    """The detail of a problem document (RFC 9457), which has these members and no others."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    document: dict[str, Any] = answer.json()
    detail: str = document.pop("detail")
    assert document.pop("title")
    assert document == {"type": "about:blank", "status": status, **more}
    return detail


def url(host: FunctionsHost, day: date) -> str:
    return f"{host.url}/api/exports/{day}"


def messages(queue: QueueClient, day: date) -> list[dict[str, Any]]:
    """What waits in the queue for a day."""
    documents = [json.loads(b64decode(message.content)) for message in queue.peek_messages(32)]
    return [document for document in documents if document["date"] == day.isoformat()]


def put_status(blobs: ContainerClient, status: RunStatus) -> BlobLeaseClient:
    """Write a status as a run would. Returns the means to lock it."""
    name = f"status/date={status.date}.json"
    blob = blobs.upload_blob(name, status.to_json(), overwrite=True, metadata=status.metadata())
    return BlobLeaseClient(blob)


# Asking for a run


def test_a_day_is_queued(held_host: FunctionsHost, queue: QueueClient, day: date) -> None:
    answer = ask(held_host, "POST", f"/{day}")
    run_id = answer.json()["run_id"]
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Location"] == url(held_host, day)
    assert answer.json() == {
        "date": day.isoformat(),
        "run_id": run_id,
        "status": "queued",
        "status_url": url(held_host, day),
    }
    assert messages(queue, day) == [{"date": day.isoformat(), "run_id": run_id, "trigger": "http", "replace": False}]
    seen = ask(held_host, "GET", f"/{day}").json()
    assert (seen["status"], seen["run_id"], seen["manifest"], seen["error"]) == ("queued", run_id, None, None)


def test_a_queued_day_keeps_its_run(held_host: FunctionsHost, queue: QueueClient, day: date) -> None:
    """However often it is asked for there is one run and one message."""
    first = ask(held_host, "POST", f"/{day}")
    again = ask(held_host, "POST", f"/{day}")
    in_range = ask(held_host, "POST", f"?from={day}&to={day}")
    assert again.status_code == 202
    assert again.json() == first.json() == in_range.json()["runs"][0]
    assert len(messages(queue, day)) == 1


def test_replace_takes_the_place_of_a_run_that_does_not(
    held_host: FunctionsHost, queue: QueueClient, day: date
) -> None:
    """And only of such a one: what replaces already stays, whoever asks."""
    runs = [
        ask(held_host, "POST", f"/{day}{query}").json()["run_id"]
        for query in ("", "?replace=true", "?replace=TRUE", "")
    ]
    assert runs[0] != runs[1] == runs[2] == runs[3]
    assert [(message["run_id"], message["replace"]) for message in messages(queue, day)] == [
        (runs[0], False),
        (runs[1], True),
    ]


@pytest.mark.parametrize(("minutes", "new_runs"), [(58, 0), (61, 1)])
def test_a_run_that_has_waited_for_an_hour_gives_way(  # noqa: PLR0913, PLR0917 - fixtures
    held_host: FunctionsHost,
    queue: QueueClient,
    blobs: ContainerClient,
    day: date,
    minutes: int,
    new_runs: int,
) -> None:
    """Its message may be lost."""
    queued_at = datetime.now(UTC) - timedelta(minutes=minutes)
    put_status(blobs, RunStatus(day, RunState.QUEUED, "old", "timer", queued_at=queued_at))
    run_id = ask(held_host, "POST", f"/{day}").json()["run_id"]
    assert [message["run_id"] for message in messages(queue, day)] == [run_id] * new_runs
    assert (run_id == "old") == (not new_runs)


@pytest.mark.parametrize("status", ["complete", "failed", "running", "expired"])
def test_a_day_that_is_neither_queued_nor_locked_gets_a_new_run(
    held_host: FunctionsHost, blobs: ContainerClient, day: date, status: str
) -> None:
    """A run without its lock is dead, whatever its status says."""
    put_status(blobs, RunStatus(day, RunState(status), "old", "http", queued_at=datetime.now(UTC)))
    answer = ask(held_host, "POST", f"/{day}")
    assert answer.status_code == 202
    assert answer.json()["run_id"] != "old"


def test_a_locked_day_is_being_exported(
    held_host: FunctionsHost, queue: QueueClient, blobs: ContainerClient, day: date
) -> None:
    """It is not queued; a range says so of it, and queues the others."""
    lease = put_status(blobs, RunStatus(day, RunState.QUEUED, "the-run", "http", queued_at=datetime.now(UTC)))
    lease.acquire()
    facts = {"date": day.isoformat(), "run_id": "the-run", "status_url": url(held_host, day)}
    assert "az storage blob lease break" in problem(ask(held_host, "POST", f"/{day}"), 409, **facts), "without an end"
    lease.release()
    lease = BlobLeaseClient(blobs.get_blob_client(f"status/date={day}.json"))
    lease.acquire(60)
    for query in ("", "?replace=true"):
        assert facts["status_url"] in problem(ask(held_host, "POST", f"/{day}{query}"), 409, **facts)
    before = day - timedelta(days=1)
    answer = ask(held_host, "POST", f"?from={before}&to={day}")
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{held_host.url}/api/exports?from={before}&to={day}"
    assert [(run["date"], run["status"]) for run in answer.json()["runs"]] == [
        (before.isoformat(), "queued"),
        (day.isoformat(), "running"),
    ]
    assert answer.json()["runs"][1] == facts | {"status": "running"}
    assert messages(queue, day) == []
    assert ask(held_host, "GET", f"/{day}").json()["status"] == "running"
    assert ask(held_host, "GET", f"?from={day}&to={day}").json()["days"][0]["status"] == "running"
    lease.release()
    assert ask(held_host, "POST", f"/{day}").json()["run_id"] == "the-run", "queued, as its status says"


def test_a_run_of_the_app_itself_holds_the_lock(held_host: FunctionsHost) -> None:
    running = ask(held_host, "GET", f"/{HELD}").json()
    assert running["status"] == "running"
    problem(
        ask(held_host, "POST", f"/{HELD}"),
        409,
        date=HELD.isoformat(),
        run_id=running["run_id"],
        status_url=url(held_host, HELD),
    )


def test_a_range_is_queued_day_by_day(held_host: FunctionsHost, queue: QueueClient) -> None:
    """Across 29 February, both ends included, with one message each."""
    runs = ask(held_host, "POST", "?from=2020-02-28&to=2020-03-01&replace=true").json()["runs"]
    assert [run["date"] for run in runs] == ["2020-02-28", "2020-02-29", "2020-03-01"]
    assert len({run["run_id"] for run in runs}) == 3
    for run in runs:
        (message,) = messages(queue, date.fromisoformat(run["date"]))
        assert (message["run_id"], message["replace"]) == (run["run_id"], True)


@pytest.mark.in_memory
def test_queued_runs_can_be_withdrawn(here: Here, day: date) -> None:
    """One day or a range; what is not queued is not listed."""
    runs = [ask(here, "POST", f"/{wanted}").json() for wanted in (day, date(2019, 12, 31), date(2019, 12, 30))]
    answer = ask(here, "DELETE", f"/{day}")
    assert (answer.status_code, answer.json()) == (200, {"runs": [runs[0] | {"status": "withdrawn"}]})
    assert ask(here, "GET", f"/{day}").json()["status"] == "withdrawn"
    assert ask(here, "GET", f"?from={day}&to={day}").json()["days"][0]["status"] == "missing"
    assert ask(here, "DELETE", f"/{day}").json() == {"runs": []}
    found = ask(here, "DELETE", f"?from=2019-12-01&to={HELD}").json()["runs"]
    assert [(run["date"], run["status"]) for run in found] == [
        ("2019-12-30", "withdrawn"),
        ("2019-12-31", "withdrawn"),
        (str(HELD), "withdrawn"),
    ]
    assert "needs from and to" in problem(ask(here, "DELETE", ""), 400)
    assert "is not a date" in problem(ask(here, "DELETE", "/yesterday"), 400)


@pytest.mark.in_memory
def test_a_backfill_of_missing_days_and_no_more_than_a_year_at_a_time(here: Here, container: ContainerClient) -> None:
    landed = date(2010, 1, 2)
    container.upload_blob(f"manifests/date={landed}.json", b"{}", metadata={"status": "complete"})
    runs = ask(here, "POST", "?from=2010-01-01&to=2010-01-31&missing=true").json()["runs"]
    assert (len(runs), str(landed) in [run["date"] for run in runs]) == (30, False)
    assert "DELETE /api/exports?from=D&to=D" in problem(ask(here, "POST", "?from=2011-01-01&to=2011-12-02"), 429)
    assert ask(here, "POST", "?from=2011-01-01&to=2011-12-01").status_code == 202
    taken_back = ask(here, "DELETE", "?from=2010-01-01&to=2010-01-31").json()["runs"]
    assert len(taken_back) == len(runs)
    assert ask(here, "POST", "?from=2012-01-01&to=2012-01-30").status_code == 202, "as many more"


@pytest.mark.in_memory
def test_a_backfill_that_fails_midway_sends_the_messages_of_its_first_days(here: Here, container: MemoryClient) -> None:
    def fault(kind: str, name: str) -> None:
        if kind == "upload_blob" and "2010-01-03" in name:
            raise ServiceRequestError("gone")

    container.fault = fault
    problem(ask(here, "POST", "?from=2010-01-01&to=2010-01-05"), 503)
    assert [json.loads(message)["date"] for message in here.sent] == ["2010-01-01", "2010-01-02"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/2025-11-04"),
        ("POST", "/2025-11-04"),
        ("POST", "?from=2025-11-04&to=2025-11-04"),
        ("DELETE", "/2025-11-04"),
    ],
)
@pytest.mark.parametrize("name", ["Replace", "force", "form", "date", "\u00e9", "x" * 200])
@pytest.mark.in_memory
def test_a_parameter_that_the_route_does_not_know_is_refused(here: Here, method: str, path: str, name: str) -> None:
    """A misspelt one must not be silently ignored; what the platform reads is let through."""
    sign = "&" if "?" in path else "?"
    detail = problem(ask(here, method, f"{path}{sign}{name}=true"), 400)
    assert repr(name[:40]) in detail
    assert ask(here, "GET", f"/{HELD}?clientId=default").status_code == 200


# Dates and ranges that are none


NO_DATES = [
    *["today", "2025-02-30", "2023-02-29", "20251104", "2025-11-4", "2025-11-04T00", "0000-00-00", "-1", "1e9", "null"],
    *["2025-11-04%20", "2025-11-04%0A", "2025-11-04%00", "%D9%A2025-11-04", "2025-11-04%0d%0aSet-Cookie:%20a=b"],
    *["..%2F..%2Fstatus", "%2e%2e", "%252e%252e", "%F0%9F%93%85", "%ff%fe", "<script>", "'%20OR%201=1--"],
    "9" * 4000,
]


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_no_date_is_refused(held_host: FunctionsHost, text: str) -> None:
    """In the path or in the query: 400, which quotes a little of it and never as a header."""
    for method in ("GET", "POST", "DELETE"):
        for path in (f"/{text}", f"?from={text}&to=2025-11-04", f"?from=2025-11-04&to={text}"):
            answer = ask(held_host, method, path)
            detail = problem(answer, 400)
            assert "is not a date. Write it like 2025-11-04" in detail
            assert len(detail) < 400
            assert detail.isprintable()
            assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/2025-11-04/..", "/../exports/2025-11-04", "/./2025-11-04/", "//2025-11-04", "/"])
def test_another_path_is_no_route(held_host: FunctionsHost, path: str) -> None:
    """The platform's affair: whatever it makes of a path, the app does not fail."""
    answer = requests.Session().send(
        requests.Request("GET", f"{held_host.url}/api/exports{path}", headers=held_host.auth).prepare(), timeout=30
    )
    assert answer.status_code in (200, 400, 404)


@pytest.mark.in_memory
def test_a_day_that_is_not_over_cannot_be_had(here: Here) -> None:
    now = datetime.now(UTC)
    pending = newest_complete_day(now) + timedelta(days=1)
    says = f"it can be exported from {iso(end_of(pending) + COMPLETE_AFTER)[:16]}Z on"
    assert says in problem(ask(here, "POST", f"/{pending}"), 400)
    assert says in problem(ask(here, "POST", f"?from={pending - timedelta(days=1)}&to={pending}"), 400)
    for future in (now.date() + timedelta(days=2), date.max):
        for method in ("GET", "POST", "DELETE"):
            assert "is in the future" in problem(ask(here, method, f"/{future}"), 400)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "needs from and to"),
        ("?from=2025-11-04", "needs from and to"),
        ("?to=2025-11-04", "needs from and to"),
        ("?from=2025-11-04&to=2025-11-03", r"from \(2025-11-04\) is after to \(2025-11-03\)"),
        ("?from=2024-01-01&to=2025-01-01", "has 367 days. One request can have at most 366"),
        ("?from=0001-01-01&to=2025-11-04", "One request can have at most 366"),
        ("?from=2025-11-04&to=9999-12-31", "at most 366"),
        ("?from=&to=", "'' is not a date"),
        ("?from=2025-11-04&from=2025-11-05&to=2025-11-05", "is not a date"),
        ("?from=2025-11-03&to=2025-11-04&replace=yes", "replace must be true or false"),
        ("?from=2025-11-03&to=2025-11-04&replace=", "replace must be true or false"),
        ("?from=2025-11-03&to=2025-11-04&replace=true&replace=false", "replace must be true or false"),
    ],
)
@pytest.mark.in_memory
def test_a_range_that_cannot_be_queued_queues_nothing(here: Here, query: str, says: str) -> None:
    assert re.search(says, problem(ask(here, "POST", query), 400))
    assert here.sent == []


# What is answered of a day


@pytest.mark.in_memory
def test_an_unknown_day_is_not_found(here: Here) -> None:
    assert "never exported" in problem(ask(here, "GET", "/2019-05-05"), 404)


def test_a_run_without_its_lock_has_died(held_host: FunctionsHost, blobs: ContainerClient, day: date) -> None:
    put_status(blobs, RunStatus(day, RunState.RUNNING, "dead", "timer", started_at=datetime.now(UTC)))
    seen = ask(held_host, "GET", f"/{day}").json()
    assert (seen["status"], seen["error"]["type"]) == ("failed", "RunDied")
    row = ask(held_host, "GET", f"?from={day}&to={day}").json()["days"][0]
    assert (row["status"], row["error"]["type"]) == ("failed", "RunDied")


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"null", b'{"version": 1}', b'{"version": 2}', b"<script>"])
def test_a_manifest_of_somebody_else_is_an_error(
    held_host: FunctionsHost, blobs: ContainerClient, day: date, data: bytes
) -> None:
    """No half of it is shown, and the answer names the blob."""
    blobs.upload_blob(f"manifests/date={day}.json", data)
    detail = problem(ask(held_host, "GET", f"/{day}"), 500)
    assert f"manifests/date={day}.json" in detail
    assert ask(held_host, "GET", f"?from={day}&to={day}").status_code == 200


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}"])
def test_a_status_of_somebody_else_is_written_anew(
    held_host: FunctionsHost, blobs: ContainerClient, day: date, data: bytes
) -> None:
    """It says nothing that a run needs: the day can be asked for."""
    blobs.upload_blob(f"status/date={day}.json", data)
    assert ask(held_host, "GET", f"/{day}").status_code == 200
    assert ask(held_host, "POST", f"/{day}").status_code == 202
    assert ask(held_host, "GET", f"/{day}").json()["status"] == "queued"


@pytest.mark.in_memory
def test_coverage_has_a_row_for_each_day(here: Here) -> None:
    """Of the last thirty days, or of those that were asked for: 366 at most."""
    newest = newest_complete_day(datetime.now(UTC))
    answer = ask(here, "GET", "").json()
    assert (answer["to"], len(answer["days"])) == (newest.isoformat(), 30)
    assert answer["from"] == answer["days"][0]["date"]
    leap_year = ask(here, "GET", "?from=2020-01-01&to=2020-12-31").json()["days"]
    assert (len(leap_year), leap_year[0]["status"], leap_year[100]["status"]) == (366, "queued", "missing")
    assert leap_year[100] == {
        "date": "2020-04-10", "status": "missing", "events": 0, "bytes": 0, "files": 0,
        "empty_hours": [], "warnings": [], "error": None,
    }  # fmt: skip
    assert "367 days" in problem(ask(here, "GET", "?from=2020-01-01&to=2021-01-01"), 400)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/json, text/html;q=0.9", "application/json"),
    ],
)
@pytest.mark.in_memory
def test_browsers_get_a_page(here: Here, accept: str, kind: str) -> None:
    for path in ("", f"/{HELD}"):
        answer = ask(here, "GET", path, Accept=accept)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/2019-05-05", 404, "was never exported"),
        ("/no-date", 400, "is not a date"),
        ("/2999-01-01", 400, "is in the future"),
        ("?from=2025-11-04&to=2025-11-03", 400, "The range is empty"),
        ("?from=2020-01-01&to=2021-01-01", 400, "367 days"),
        ("?form=2025-11-04", 400, "does not know the query parameter"),
        (f"/{HELD}?download=manifest", 404, "has no manifest"),
        (f"/{HELD}?download=everything", 400, "manifest or log"),
    ],
)
@pytest.mark.in_memory
def test_a_browser_gets_each_refusal_as_a_page(here: Here, path: str, status: int, says: str) -> None:
    """It says what the problem document says."""
    detail = problem(ask(here, "GET", path), status)
    page = ask(here, "GET", path, Accept="text/html")
    assert (page.status_code, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert says in detail
    assert html.escape(detail, quote=True).replace("&#x27;", "&#39;") in page.text


@pytest.mark.in_memory
def test_files_of_a_day_can_be_downloaded(here: Here, container: ContainerClient, day: date) -> None:
    """As they are in the container; a name that the app did not make leads nowhere. The log is that of the last try."""
    function_app.opened().runs.run_now(Order(day))
    status = RunStatus(day, RunState.FAILED, "the-run", "http", try_id="5f3c9a1e")
    container.upload_blob(f"status/date={day}.json", status.to_json(), overwrite=True)
    container.upload_blob(f"logs/date={day}/the-run_5f3c9a1e.csv", b"log_time,log_item\r\n")
    log = ask(here, "GET", f"/{day}?download=log")
    assert (log.status_code, log.content) == (200, b"log_time,log_item\r\n")
    assert log.headers["Content-Disposition"] == f'attachment; filename="log-{day}.csv"'
    for run_id in ("../x", "a/b", ""):
        container.upload_blob(f"status/date={day}.json", replace(status, run_id=run_id).to_json(), overwrite=True)
        assert "there is no log" in problem(ask(here, "GET", f"/{day}?download=log"), 404)


# Who may call


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-functions-key": "wrong"},
        {"X-MS-CLIENT-PRINCIPAL": "eyJ9", "X-MS-CLIENT-PRINCIPAL-ID": "me"},
        {"Authorization": "Bearer a.b.c"},
    ],
)
def test_nobody_calls_without_a_key(held_host: FunctionsHost, headers: dict[str, str]) -> None:
    """Nor with what only the platform's sign-in may say."""
    for method in ("GET", "POST"):
        for path in ("", "/2025-11-04", "?code=wrong"):
            answer = requests.request(method, f"{held_host.url}/api/exports{path}", headers=headers, timeout=30)
            assert (answer.status_code, answer.text) == (401, "")


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_key_in_the_address_is_never_repeated(held_host: FunctionsHost, day: date, accept: str) -> None:
    """Not in a body, a page, a header or a problem; `ask` looks for it in all of them."""
    key = {"x-functions-key": "", "Accept": accept}
    for path in (f"/{day}?code=", f"?from={day}&to={day}&code="):
        answer = ask(held_host, "POST", f"{path}{held_host.key}", **key)
        assert (answer.status_code, "code" in answer.text) == (202, False)
    for path, status in ((f"/{day}?code=", 200), ("?code=", 200), ("?from=x&code=", 400), ("/2019-05-05?code=", 404)):
        assert ask(held_host, "GET", f"{path}{held_host.key}", **key).status_code == status
    problem(ask(held_host, "POST", f"/{HELD}?code={held_host.key}", **key), 409, **running(held_host))


def running(host: FunctionsHost) -> dict[str, str]:
    run_id = ask(host, "GET", f"/{HELD}").json()["run_id"]
    return {"date": HELD.isoformat(), "run_id": run_id, "status_url": url(host, HELD)}


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"},
        {"Sec-Fetch-Site": "Same-Origin-Or-So"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "OWN.evil.example"},
        {"Origin": "OWN@evil.example"},
    ],
)
def test_a_page_of_another_site_starts_nothing(
    held_host: FunctionsHost, queue: QueueClient, day: date, headers: dict[str, str]
) -> None:
    headers = {name: value.replace("OWN", held_host.url) for name, value in headers.items()}
    for path in (f"/{day}", f"?from={day}&to={day}"):
        for method in ("POST", "DELETE"):
            assert "another site" in problem(ask(held_host, method, path, **headers), 403)
    assert messages(queue, day) == []
    assert ask(held_host, "GET", "", **headers).status_code == 200, "looking changes nothing"


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin", "Origin": "OWN"}, {"Sec-Fetch-Site": "none"}, {"Origin": "OWN"}, {}]
)
@pytest.mark.in_memory
def test_the_apps_own_page_and_no_browser_may(here: Here, day: date, headers: dict[str, str]) -> None:
    headers = {name: value.replace("OWN", here.url) for name, value in headers.items()}
    assert ask(here, "POST", f"/{day}", **headers).status_code == 202


def test_headers_change_neither_method_nor_address(held_host: FunctionsHost, queue: QueueClient, day: date) -> None:
    """What proxies and frameworks sometimes believe is not believed here."""
    headers = {
        "X-HTTP-Method-Override": "POST",
        "X-Forwarded-Host": "evil.example",
        "X-Original-URL": f"/api/exports/{day}",
    }
    assert ask(held_host, "GET", f"/{day}", **headers).status_code == 404
    assert messages(queue, day) == []
    assert ask(held_host, "POST", f"/{day}", **headers).headers["Location"] == url(held_host, day)


class TestEntra:
    """`EXPORT_HTTP_AUTH=entra`, and a retention."""

    @pytest.fixture(scope="class")
    @classmethod
    def entra(cls, azurite: Azurite, held_environ: dict[str, str]) -> Iterator[FunctionsHost]:
        """The app behind the platform's sign-in."""
        environ = held_environ | {
            "EXPORT_HTTP_AUTH": "entra",
            "WEBSITE_AUTH_ENABLED": "True",
            "EXPORT_RETENTION_DAYS": "30",
            "EXPORT_QUEUE": f"q-{uuid.uuid4().hex[:20]}",
        }
        with FunctionsHost(app_dir=ROOT, connection_string=azurite.connection_string, environ=environ) as host:
            yield host

    def test_the_sign_in_decides(self, entra: FunctionsHost) -> None:
        """A key does not replace it; reading and changing are two rights."""
        for method in ("GET", "POST", "DELETE"):
            for path in ("", "/2025-11-04", "/no-date"):
                assert "Sign in first" in problem(ask(entra, method, path), 401)
        assert ask(entra, "GET", "", **READER).status_code == 200
        assert "Exports.Write" in problem(ask(entra, "POST", "/2025-11-04", **READER), 403)
        problem(ask(entra, "POST", "/2025-11-04", **WRITER, **{"Sec-Fetch-Site": "cross-site"}), 403)

    def test_a_day_beyond_the_retention_cannot_be_had(self, entra: FunctionsHost) -> None:
        """The oldest kept one can, and coverage calls those before it expired."""
        oldest = datetime.now(UTC).date() - timedelta(days=30)
        for path in (f"/{oldest - timedelta(days=1)}", f"?from={oldest - timedelta(days=1)}&to={oldest}"):
            assert "EXPORT_RETENTION_DAYS" in problem(ask(entra, "POST", path, **WRITER), 400)
        rows = ask(entra, "GET", f"?from={oldest - timedelta(days=1)}&to={oldest}", **WRITER).json()["days"]
        assert [row["status"] for row in rows] == ["expired", "missing"]
        assert ask(entra, "POST", f"/{oldest}", **WRITER).status_code == 202

    def test_without_the_platforms_sign_in_only_the_routes_refuse(
        self, azurite: Azurite, held_environ: dict[str, str]
    ) -> None:
        """Anyone could claim to be signed in. A web setting does not stop the nights, but the night says it."""
        environ = held_environ | {"EXPORT_HTTP_AUTH": "Entra", "EXPORT_QUEUE": f"q-{uuid.uuid4().hex[:20]}"}
        with FunctionsHost(app_dir=ROOT, connection_string=azurite.connection_string, environ=environ) as host:
            for method in ("GET", "POST", "DELETE"):
                for path in ("", "/2025-11-04"):
                    assert "WEBSITE_AUTH_ENABLED" in problem(ask(host, method, path, **WRITER), 503)
            host.fire_timer("nightly")
            events = [json.loads(line.message)["event"] for line in host.log_lines() if "amplitude" in line.logger]
            assert (events.count("settings_invalid"), events.count("nightly_done")) == (1, 1)
