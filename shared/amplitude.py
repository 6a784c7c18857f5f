"""The Export API over HTTP: one window as a stream of bytes, every other answer as a value or an error.

Request and answers: Amplitude's documentation of the Export API (`GET /api/2/export`, Basic auth, both hours included).
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
import urllib3.exceptions
from requests.auth import HTTPBasicAuth

from shared.dates import Window
from shared.errors import (
    AmplitudeUnavailable,
    BadCredentials,
    BadRequest,
    BrokenArchive,
    ExportError,
    ExportTooLarge,
    UnexpectedAnswer,
)
from shared.retry import retry_after_seconds
from shared.settings import Settings

CHUNK_BYTES = 256 * 1024
CONNECT_SECONDS = 30.0
_WORDS_BYTES = 4096
_WORDS = 300
_SMALLER = "It is asked for in halves."
_NO_SMALLER = (
    "A single hour cannot be asked for in parts. The same answer has been seen for an empty project, and for keys of "
    "another one: check in Amplitude that this hour has events. If it has, ask Amplitude's support for the data."
)
_TOO_LARGE = re.compile(r"too large|exceed|4\s?GB", re.IGNORECASE)


@dataclass(slots=True)
class Answer:
    """The archive of a window, as it arrives. `received` counts the bytes of the body so far."""

    status: int
    chunks: Iterator[bytes] = field(repr=False)
    received: int = 0


class Amplitude:
    """One project's Export API.

    The session is handed in, and stays the caller's to close. Credentials go to the configured host alone:
    redirects are not followed.
    """

    def __init__(
        self, session: requests.Session, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._session = session
        self._settings = settings
        self._clock = clock

    @contextmanager
    def fetch(self, window: Window) -> Iterator[Answer | None]:
        """Ask for a window: its archive as a stream, or None where it holds no events (404).

        The chunks are read from the socket as they are asked for; leaving the context early drops the connection.

        Raises:
            AmplitudeUnavailable: no answer, 429, 5xx; before the body or within it.
            BrokenArchive: the body ended early.
            BadCredentials, BadRequest, ExportTooLarge, UnexpectedAnswer: by the status.

        """
        with self._errors(window):
            response = self._session.get(
                self._settings.export_url,
                params={"start": _hour(window.first_hour), "end": _hour(window.last_hour)},
                auth=HTTPBasicAuth(self._settings.api_key.encode(), self._settings.secret_key.encode()),
                headers={"Accept-Encoding": "identity"},
                timeout=(CONNECT_SECONDS, self._settings.read_timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
        with response:
            if response.status_code == requests.codes.not_found:
                yield None
                return
            if response.status_code != requests.codes.ok:
                raise self._refusal(response, window)
            answer = Answer(response.status_code, iter(()))
            answer.chunks = self._chunks(response, window, answer)
            yield answer

    def _chunks(self, response: requests.Response, window: Window, answer: Answer) -> Iterator[bytes]:
        # `iter_content` would undo a content encoding; an archive is checked as it was sent.
        stream = response.raw.stream(CHUNK_BYTES, decode_content=False)
        while True:
            with self._errors(window):
                chunk = next(stream, b"")
            if not chunk:
                break
            answer.received += len(chunk)
            yield chunk
        expected = response.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]+", expected) and int(expected) != answer.received:
            raise BrokenArchive(f"{window}: the answer has {answer.received} bytes, {expected} were announced.")

    @contextmanager
    def _errors(self, window: Window) -> Iterator[None]:
        """Translate what `requests` and `urllib3` raise, at the one place where they are called."""
        try:
            yield
        except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise AmplitudeUnavailable(
                f"{window}: Amplitude sent nothing for {self._settings.read_timeout_seconds:g} seconds "
                "(EXPORT_READ_TIMEOUT_SECONDS).",
                slow=True,
            ) from error
        except requests.exceptions.SSLError as error:
            raise AmplitudeUnavailable(
                f"{window}: no trusted TLS connection to Amplitude ({_reason(error)}). "
                "Is AMP_EXPORT_URL right, or a proxy in between?"
            ) from error
        except requests.exceptions.ConnectTimeout as error:
            raise AmplitudeUnavailable(
                f"{window}: no connection to Amplitude within {CONNECT_SECONDS:g} seconds."
            ) from error
        except requests.exceptions.RequestException as error:
            raise AmplitudeUnavailable(
                f"{window}: Amplitude could not be reached, or closed the connection without an answer "
                f"({_reason(error)})."
            ) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:  # ValueError: a chunk of negative length
            raise BrokenArchive(f"{window}: the answer broke off ({_reason(error)}).") from error

    def _refusal(self, response: requests.Response, window: Window) -> ExportError:
        status, body = response.status_code, self._body(response, window)
        words = self._words(body)
        said = f"{window}: Amplitude answered {status}" + (f': "{words}".' if words else ".")
        if status in (requests.codes.unauthorized, requests.codes.forbidden):
            return BadCredentials(
                f"{said} AMP_API_KEY and AMP_SECRET_KEY must be of one project, and of the region "
                f"{self._settings.region!r} (AMP_DATA_REGION)."
            )
        if status == requests.codes.bad_request:
            if _TOO_LARGE.search(body):
                return ExportTooLarge(f"{said} {_SMALLER if window.hours > 1 else _NO_SMALLER}")
            return BadRequest(said)
        if status == requests.codes.too_many_requests or status >= requests.codes.server_error:
            return AmplitudeUnavailable(
                said,
                retry_after=retry_after_seconds(response.headers.get("Retry-After"), self._clock()),
                slow=status == requests.codes.gateway_timeout,
                throttled=status == requests.codes.too_many_requests,
            )
        return UnexpectedAnswer(
            f"{said} The Export API does not document this. Is AMP_EXPORT_URL the export endpoint itself?"
        )

    @property
    def _auth_value(self) -> str:
        """The credentials as the request's header holds them (RFC 7617): a proxy's page may show it."""
        return base64.b64encode(f"{self._settings.api_key}:{self._settings.secret_key}".encode()).decode()

    def _body(self, response: requests.Response, window: Window) -> str:
        """How the body of a refusal begins; empty if it cannot be read, for the status says enough."""
        try:
            with self._errors(window):
                body: bytes = response.raw.read(_WORDS_BYTES, decode_content=True)
        except ExportError:
            return ""
        return body.decode("utf-8", "replace")

    def _words(self, body: str) -> str:
        """Amplitude's own words: short, on one line, without tags and without the keys."""
        text = re.sub(r"<[^>]*>", " ", body)
        for secret in (*self._settings.secrets, self._auth_value):
            text = text.replace(secret, "***")
        text = "".join(c if c.isprintable() else " " for c in text)
        return " ".join(text.split())[:_WORDS]


def _hour(hour: str) -> str:
    return hour.replace("-", "")


def _reason(error: Exception) -> str:
    """What kind of failure lies beneath, without its text: that may hold the URL."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {cause.verify_message}"
    return type(cause).__name__
