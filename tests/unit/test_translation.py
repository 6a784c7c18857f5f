"""Exceptions of libraries, translated where the libraries are called: none of their classes gets through."""

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
    """An exception of a class, whatever its constructor wants; its text must not show."""
    error = kind.__new__(kind)
    Exception.__init__(error, "marker")
    return error


def response_error(kind: type[Exception], status: int, code: str = "") -> Exception:
    error = instance(kind)
    vars(error).update(status_code=status, error_code=code, response=None)
    return error


def asked(error: Exception) -> ExportError:
    """What becomes of an exception while Amplitude is asked."""
    settings = load_settings(
        {"AMP_API_KEY": "a", "AMP_SECRET_KEY": "s", "EXPORT_STORAGE": "UseDevelopmentStorage=true"}
    )
    with (
        requests.Session() as session,
        pytest.raises(ExportError) as caught,
        Amplitude(session, settings)._errors(WINDOW),  # noqa: SLF001 - the seam
    ):
        raise error
    return caught.value


def stored(error: Exception) -> ExportError:
    """What becomes of an exception while the storage is asked."""
    with pytest.raises(ExportError) as caught, translated("name", "read"):
        raise error
    return caught.value


@pytest.mark.parametrize("kind", exceptions_of(requests.exceptions, urllib3.exceptions))
def test_no_exception_of_requests_gets_through(kind: type[Exception]) -> None:
    """Each becomes one that a retry understands, without the text of the foreign one: that may hold the URL."""
    error = asked(instance(kind))
    assert isinstance(error, AmplitudeUnavailable | BrokenArchive)
    assert isinstance(error.__cause__, kind)
    assert "2025-11-04T00" in str(error)
    assert "marker" not in str(error)


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


@pytest.mark.parametrize(
    ("status", "code", "becomes"),
    [
        (400, "InvalidHeaderValue", StorageDenied),
        (401, "InvalidAuthenticationInfo", StorageDenied),
        (403, "AuthorizationPermissionMismatch", StorageDenied),
        (404, "ContainerNotFound", StorageDenied),
        (403, "UnauthorizedBlobOverwrite", StorageDenied),
        (404, "BlobNotFound", ConditionNotMet),
        (404, "", StorageDenied),
        (408, "", StorageUnavailable),
        (409, "BlobAlreadyExists", ConditionNotMet),
        (409, "ContainerBeingDeleted", StorageUnavailable),
        (412, "ConditionNotMet", ConditionNotMet),
        (409, "BlobImmutableDueToPolicy", StorageDenied),
        (409, "BlobArchived", StorageDenied),
        (409, "SomethingNew", StorageDenied),
        (400, "InvalidBlockList", StorageUnavailable),
        (412, "LeaseIdMissing", StorageDenied),
        (412, "LeaseLost", ConditionNotMet),
        (412, "SomethingNew", StorageDenied),
        (429, "", StorageUnavailable),
        (500, "InternalError", StorageUnavailable),
        (503, "ServerBusy", StorageUnavailable),
        (504, "", StorageUnavailable),
    ],
)
def test_what_the_storage_answers(status: int, code: str, becomes: type[ExportError]) -> None:
    """Busy or broken: try again. Somebody else was first: say so. Refused: somebody has to act."""
    error = stored(response_error(HttpResponseError, status, code))
    assert type(error) is becomes
    assert "read" in str(error)
    assert "name" in str(error)
    assert code in str(error)


def test_each_error_code_of_the_library_has_its_row() -> None:
    """A new one is judged by a person, not by its status."""
    assert [code.value for code in StorageErrorCode if code.value not in KINDS] == []


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
