"""Exceptions of libraries, translated where the libraries are called: none of their classes gets through."""

import re
import socket
import ssl
from types import ModuleType

import azure.core.exceptions
import azure.identity
import pytest
import requests.exceptions
import urllib3.exceptions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import StorageErrorCode

from shared.amplitude import Amplitude
from shared.dates import Window, parse_day
from shared.errors import (
    AmplitudeUnavailable,
    BrokenArchive,
    ConditionNotMet,
    ExportError,
    PermanentError,
    StorageDenied,
    StorageUnavailable,
    TransientError,
)
from shared.settings import load_settings
from shared.storage.errors import KINDS, translated

WINDOW = Window(parse_day("2025-11-04"), 0, 24)
OWN_MISTAKES = {
    "DeserializationError": "has a test of its own",
    "SerializationError": "the app hands over a value of the wrong type",
    "ProxySchemeUnsupported": "a Python without TLS within TLS",
}
"""What only a fault of the app, or another Python, can raise: it goes on as it is, and becomes an InternalError."""

SOCKETS = (socket.gaierror, socket.herror, TimeoutError, ConnectionResetError, OSError)


def exceptions_of(*modules: ModuleType) -> list[type[Exception]]:
    """A library's own exceptions; warnings, and what it imports, are none."""
    return [
        one
        for module in modules
        for name, one in vars(module).items()
        if isinstance(one, type)
        and issubclass(one, Exception)
        and not issubclass(one, Warning)
        and one.__module__ == module.__name__
        and name not in OWN_MISTAKES
    ]


def instance(kind: type[Exception]) -> Exception:
    """An exception of a class, whatever its constructor wants; its text must not show. TLS gives a reason."""
    error = kind.__new__(kind)
    Exception.__init__(error, "marker")
    error.__dict__.update({"verify_message": "self-signed"} if issubclass(kind, ssl.SSLError) else {})
    return error


def response_error(kind: type[Exception], status: int, code: str = "") -> Exception:
    error = instance(kind)
    vars(error).update(status_code=status, error_code=code, response=None)
    return error


def asked(error: Exception) -> ExportError:
    """What becomes of an exception while Amplitude is asked."""
    needed = {"AMP_API_KEY": "a", "AMP_SECRET_KEY": "s", "EXPORT_STORAGE": "UseDevelopmentStorage=true"}
    with (
        requests.Session() as session,
        pytest.raises(ExportError) as caught,
        Amplitude(session, load_settings(needed))._errors(WINDOW),  # noqa: SLF001 - the seam
    ):
        raise error
    return caught.value


def stored(error: Exception) -> ExportError:
    """What becomes of an exception while the storage is asked."""
    with pytest.raises(ExportError) as caught, translated("name", "read"):
        raise error
    return caught.value


@pytest.mark.parametrize("kind", [*exceptions_of(requests.exceptions, urllib3.exceptions, ssl), *SOCKETS])
def test_no_exception_of_requests_gets_through(kind: type[Exception]) -> None:
    """Each becomes one that is tried again, without the text of the foreign one: that may hold the URL."""
    error = asked(instance(kind))
    assert isinstance(error, AmplitudeUnavailable | BrokenArchive)
    assert isinstance(error.__cause__, kind)
    assert "2025-11-04T00" in str(error)
    assert "marker" not in str(error)


def test_what_is_no_error_of_the_connection_passes_through() -> None:
    """A fault of the app itself must not look like one of Amplitude's."""
    with pytest.raises(ZeroDivisionError):
        asked(ZeroDivisionError())


@pytest.mark.parametrize("kind", [requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError])
def test_only_a_read_time_out_is_slow(kind: type[Exception]) -> None:
    """Before or in the body: asking for less may help. Of all others it would not."""
    slow = asked(instance(kind))
    assert isinstance(slow, AmplitudeUnavailable)
    assert slow.slow
    for other in (requests.exceptions.ConnectTimeout, requests.exceptions.ConnectionError):
        error = asked(instance(other))
        assert isinstance(error, AmplitudeUnavailable)
        assert not error.slow


@pytest.mark.parametrize("kind", exceptions_of(azure.core.exceptions))
def test_no_exception_of_azure_gets_through(kind: type[Exception]) -> None:
    error = stored(response_error(kind, 500) if issubclass(kind, HttpResponseError) else instance(kind))
    assert isinstance(error, StorageUnavailable)
    assert isinstance(error.__cause__, kind)
    assert "marker" not in str(error)


ANSWERS: dict[type[ExportError], str] = {
    ConditionNotMet: "404 BlobNotFound, 409 BlobAlreadyExists, 409 LeaseIsBreakingAndCannotBeAcquired, "
    "412 ConditionNotMet, 412 LeaseLost",
    StorageDenied: "400 InvalidHeaderValue, 401 InvalidAuthenticationInfo, 403 AuthorizationPermissionMismatch, "
    "403 UnauthorizedBlobOverwrite, 404 ContainerNotFound, 404 , 409 BlobImmutableDueToPolicy, 409 BlobArchived, "
    "409 SomethingNew, 412 LeaseIdMissing, 412 SomethingNew",
    StorageUnavailable: "400 InvalidBlockList, 408 , 409 ContainerBeingDeleted, 429 , 500 InternalError, "
    "503 ServerBusy, 504 ",
}


@pytest.mark.parametrize(
    ("answer", "becomes"), [(answer, kind) for kind, answers in ANSWERS.items() for answer in answers.split(", ")]
)
def test_what_the_storage_answers(answer: str, becomes: type[ExportError]) -> None:
    """Busy or broken: try again. Somebody else was first: say so. Refused: somebody has to act."""
    status, code = answer.split(" ")
    error = stored(response_error(HttpResponseError, int(status), code))
    assert type(error) is becomes
    assert "read" in str(error)
    assert "name" in str(error)
    assert code in str(error)
    denied = becomes is StorageDenied and status in ("401", "403")
    assert ("Storage Blob Data Contributor" in str(error)) == denied


NEVER_ASKED = re.compile(
    "AccountAlready|Append|Cannot|ClientCache|Empty|Feature|File(?!system)|FilesystemAlready|InfiniteLease|Invalid|"
    "MaxBlob|Message|Metadata|Missing|Multiple|OutOfRange|Parent|PopReceipt|Queue|ReadOnly|Request|ResourceType|"
    "Sequence|Shar(e|ing)|Unsupported|"
    ".*(Copy|Exceed|Length|NameMismatch|NotAllowed|NotArchived|NotSupported|Path|Rename|Snapshot|Source|Tier|TooLong)"
)
"""Codes of other services and of requests that this app does not make. If one comes all the same, it is denied."""


def test_each_error_code_that_a_request_of_this_app_can_get_has_its_row() -> None:
    """A new one is judged by a person, not by its status."""
    asked = [code.value for code in StorageErrorCode if not NEVER_ASKED.match(code.value)]
    assert [code for code in asked if code not in KINDS] == []
    assert len(asked) > 40


@pytest.mark.parametrize(
    ("code", "advice"),
    [("LeaseIdMissing", "lease break"), ("BlobImmutableDueToPolicy", "policy"), ("BlobArchived", "rehydrate")],
)
def test_a_conflict_that_is_no_race_says_what_to_do(code: str, advice: str) -> None:
    """No other try was there: trying again does not help."""
    error = stored(response_error(HttpResponseError, 409, code))
    assert isinstance(error, StorageDenied)
    assert (error.code, advice in str(error)) == (code, True)


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize(
    "kind", [HttpResponseError, azure.core.exceptions.DecodeError, azure.core.exceptions.IncompleteReadError]
)
def test_an_answer_that_breaks_off_is_transient(kind: type[Exception], status: int) -> None:
    """The storage had said yes: nobody lacks a permission."""
    assert isinstance(stored(response_error(kind, status)), TransientError)


@pytest.mark.parametrize("kind", [HttpResponseError, azure.core.exceptions.DeserializationError])
def test_an_answer_that_cannot_be_read_is_transient(kind: type[Exception]) -> None:
    """Without a status, or with a body of another shape: something stood in between."""
    assert isinstance(stored(kind("marker")), TransientError)


def test_a_missing_token_is_a_refusal() -> None:
    """Nobody gets one by waiting: the message says what to look at."""
    for kind in (azure.core.exceptions.ClientAuthenticationError, azure.identity.CredentialUnavailableError):
        error = stored(kind("marker"))
        assert isinstance(error, PermanentError)
        assert "managed identity" in str(error)
