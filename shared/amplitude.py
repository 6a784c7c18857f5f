"""The Export API over HTTP: one window as a stream of bytes, every other answer as a value or an error.

Request and answers: Amplitude's documentation of the Export API (`GET /api/2/export`, Basic auth, both hours included).
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
import urllib3.exceptions
from requests.auth import HTTPBasicAuth

from shared import errors
from shared.dates import Window
from shared.http import reason
from shared.redact import Redaction
from shared.retry import retry_after_seconds
from shared.settings import Settings
from shared.stop import check_stop, stoppable, wait_for

CHUNK_BYTES = 256 * 1024
CONNECT_SECONDS = 30.0
LONGEST_ANSWER = 4 * 3600.0
"""How many seconds an answer may take. Bytes that arrive slowly never reach the read time-out."""
_WORDS_BYTES = 4096
_WORDS = 300
_SMALLER = "The app requests it in halves."
_NO_SMALLER = (
    "A single hour cannot be split. Amplitude gives the same answer for an empty project, and for keys of another "
    "project: check in Amplitude that this hour has events. If it has, ask Amplitude's support for the data."
)
_RETRIED = (requests.codes.not_found, requests.codes.too_many_requests)
_NO_EVENTS = re.compile(r"raw\s+data.*not\s+found", re.IGNORECASE | re.DOTALL)
_TOO_LARGE = re.compile(r"too large|exceed|4\s?GB", re.IGNORECASE)


@dataclass(slots=True)
class Answer:
    """The archive of a window while it arrives. `received` counts the bytes of the body so far."""

    status: int
    chunks: Iterator[bytes] = field(repr=False)
    received: int = 0


@dataclass(frozen=True, slots=True)
class Amplitude:
    """One project's Export API.

    The caller owns the session and closes it. Credentials are sent only to the configured host: redirects are not
    followed.
    """

    session: requests.Session
    settings: Settings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    longest_answer: float = LONGEST_ANSWER

    @contextmanager
    def fetch(self, window: Window) -> Iterator[Answer | None]:
        """Request a window. Returns its archive as a stream, or None if Amplitude says that it has no events.

        Lazy: chunks are read from the socket on demand. Leaving the context early closes the connection.

        Raises BadCredentials, BadRequest, ExportTooLarge or UnexpectedAnswer by the status; AmplitudeUnavailable if no
        answer or no more of its body comes, for 1xx, 404 with another text, 429, 5xx or a Content-Encoding;
        BrokenArchive if the body ended early; Interrupted if the process is to end.
        """
        end = time.monotonic() + self.longest_answer
        with self._errors(window):
            response = stoppable(lambda: self._ask(window), self.longest_answer)
        with response:
            with self._watched(response, window, end - time.monotonic()):
                if response.status_code == requests.codes.ok:
                    answer = Answer(response.status_code, iter(()))
                    answer.chunks = self._chunks(response, window, answer)
                    yield answer
                    return
                body = self._body(response, window)
            if response.status_code != requests.codes.not_found or not _says_no_events(body):
                raise self._refusal(response, body, window)
            yield None

    def _ask(self, window: Window) -> requests.Response:
        try:
            return self.session.get(
                self.settings.export_url,
                params={"start": window.first_hour.replace("-", ""), "end": window.last_hour.replace("-", "")},
                auth=HTTPBasicAuth(self.settings.api_key.encode(), self.settings.secret_key.encode()),
                headers={"Accept-Encoding": "identity"},
                timeout=(CONNECT_SECONDS, self.settings.read_timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException:
            raise
        except OSError as error:  # a CA bundle that does not exist, for example
            raise requests.exceptions.ConnectionError(error) from error

    @contextmanager
    def _watched(self, response: requests.Response, window: Window, seconds: float) -> Iterator[None]:
        """Shut down the socket of an answer after that many seconds, or if the process is to end."""
        ended, cut = threading.Event(), threading.Event()

        def watch() -> None:
            if not wait_for(ended, seconds):
                cut.set()
                with suppress(OSError, RuntimeError, ValueError):  # it has just ended anyway
                    response.raw.shutdown()

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        except (errors.AmplitudeUnavailable, errors.BrokenArchive) as error:
            check_stop()
            if not cut.is_set():
                raise
            raise self._too_slow(window) from error
        finally:
            ended.set()

    def _chunks(self, response: requests.Response, window: Window, answer: Answer) -> Iterator[bytes]:
        # `iter_content` would decode a content encoding, but the archive is checked as it was sent.
        stream = response.raw.stream(CHUNK_BYTES, decode_content=False)
        while True:
            with self._errors(window):
                chunk = next(stream, b"")
            if not chunk:
                break
            if not answer.received:
                self._check_encoding(response, chunk, window)
            answer.received += len(chunk)
            yield chunk
        expected = response.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]+", expected) and (expected.lstrip("0") or "0") != str(answer.received):
            raise errors.BrokenArchive(
                f"{window}: the answer has {answer.received} bytes, but its Content-Length is {expected[:40]}."
            )

    def _check_encoding(self, response: requests.Response, beginning: bytes, window: Window) -> None:
        """Refuse an answer with a content encoding, unless it is an archive in spite of that header."""
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity") and not b"PK".startswith(beginning[:2]):
            raise errors.AmplitudeUnavailable(
                f"{window}: the answer has the Content-Encoding {self._words(encoding, 40)!r}, but the "
                "app requested none. Check AMP_EXPORT_URL, and whether a proxy changes the answers."
            )

    @contextmanager
    def _errors(self, window: Window) -> Iterator[None]:
        """Translate what `requests` and `urllib3` raise."""
        try:
            yield
        except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise errors.AmplitudeUnavailable(
                f"{window}: Amplitude sent nothing for {self.settings.read_timeout_seconds:g} seconds "
                "(EXPORT_READ_TIMEOUT_SECONDS).",
                slow=True,
            ) from error
        except requests.exceptions.SSLError as error:
            raise errors.AmplitudeUnavailable(
                f"{window}: no trusted TLS connection to Amplitude ({reason(error)}). "
                "Check AMP_EXPORT_URL, and whether a proxy is in between."
            ) from error
        except requests.exceptions.ConnectTimeout as error:
            message = f"{window}: no connection to Amplitude within {CONNECT_SECONDS:g} seconds."
            raise errors.AmplitudeUnavailable(message) from error
        except requests.exceptions.RequestException as error:
            raise errors.AmplitudeUnavailable(
                f"{window}: Amplitude could not be reached, or closed the connection without an answer "
                f"({reason(error)})."
            ) from error
        except TimeoutError as error:
            raise self._too_slow(window) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:  # ValueError: a chunk of negative length
            raise errors.BrokenArchive(f"{window}: the answer broke off ({reason(error)}).") from error

    def _too_slow(self, window: Window) -> errors.AmplitudeUnavailable:
        return errors.AmplitudeUnavailable(
            f"{window}: the answer was not complete after {self.longest_answer:g} seconds.", slow=True
        )

    def _words(self, text: str, most: int) -> str:
        """A part of an answer, for a message: without any of the app's secrets."""
        pair = f"{self.settings.api_key}:{self.settings.secret_key}"
        return Redaction(self.settings.secrets, [pair]).words(text, most)

    def _refusal(self, response: requests.Response, body: str, window: Window) -> errors.ExportError:
        status, words = response.status_code, self._words(body, _WORDS)
        said = f"{window}: Amplitude answered {status}" + (f': "{words}".' if words else ".")
        if status in (requests.codes.unauthorized, requests.codes.forbidden):
            return errors.BadCredentials(
                f"{said} AMP_API_KEY and AMP_SECRET_KEY must belong to one project, in the region "
                f"{self.settings.region!r} (AMP_DATA_REGION)."
            )
        if status == requests.codes.bad_request:
            if _TOO_LARGE.search(body):
                return errors.ExportTooLarge(f"{said} {_SMALLER if window.hours > 1 else _NO_SMALLER}")
            return errors.BadRequest(said)
        if status < requests.codes.ok or status in _RETRIED or status >= requests.codes.server_error:
            return self._unavailable(response, said)
        return errors.UnexpectedAnswer(
            f"{said} The Export API does not document this. Check that AMP_EXPORT_URL is the Export API's address."
        )

    def _unavailable(self, response: requests.Response, said: str) -> errors.AmplitudeUnavailable:
        status = response.status_code
        if status < requests.codes.ok:
            # The final answer may still arrive on this connection. It must not be read as the answer to the next
            # request.
            self.session.close()
            said += " That is only a preliminary answer."
        if status == requests.codes.not_found:
            said += (
                ' Amplitude says "Raw data files were not found" if there are no events, so this came from something '
                "else: an outage, a proxy, or a wrong address in AMP_EXPORT_URL."
            )
        return errors.AmplitudeUnavailable(
            said,
            retry_after=retry_after_seconds(response.headers.get("Retry-After"), self.clock()),
            slow=status == requests.codes.gateway_timeout,
            throttled=status == requests.codes.too_many_requests,
        )

    def _body(self, response: requests.Response, window: Window) -> str:
        """The beginning of the body of a refusal. Empty if it cannot be read: the status is enough."""
        with suppress(errors.ExportError), self._errors(window):
            body: bytes = response.raw.read(_WORDS_BYTES, decode_content=True)
            return body.decode("utf-8", "replace")
        return ""


def _says_no_events(body: str) -> bool:
    """Whether a 404 says, in Amplitude's words, that there are no events: in text or JSON, not in a proxy's page."""
    return not body.lstrip("\ufeff \r\n\t").startswith("<") and _NO_EVENTS.search(body) is not None
