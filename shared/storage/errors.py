"""What the storage's refusals mean: one row per error code, and the translation of whatever its library raises.

Only a race, or a blob that is gone, is a condition that was not met. Any other conflict (somebody else's lease, an
immutability policy, an archived blob) is denied, with the storage's own code and what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from azure.core import exceptions as azure
from azure.core.exceptions import HttpResponseError
from urllib3.exceptions import HTTPError

from shared.errors import ConditionNotMet, ExportError, StorageDenied, StorageUnavailable
from shared.http import reason

type Kind = Literal["race", "denied", "busy", "gone"]

_ROWS: dict[Kind, str] = {
    # Another try, or another process of this app, was there first.
    "race": """
        BlobAlreadyExists BlobOverwritten ConditionNotMet ContainerAlreadyExists LeaseAlreadyBroken LeaseAlreadyPresent
        LeaseIdMismatchWithBlobOperation LeaseIdMismatchWithLeaseOperation LeaseIsAlreadyBroken
        LeaseIsBreakingAndCannotBeAcquired LeaseIsBreakingAndCannotBeChanged LeaseIsBrokenAndCannotBeRenewed LeaseLost
        LeaseNotPresentWithBlobOperation LeaseNotPresentWithLeaseOperation ResourceAlreadyExists
        TargetConditionNotMet""",
    # Later it may work: the service is busy, or bytes were lost on the way and are sent again by the next try.
    "busy": """
        AccountBeingCreated ContainerBeingDeleted ContainerDisabled DeletePending FilesystemBeingDeleted InternalError
        InvalidBlockList Md5Mismatch OperationTimedOut ServerBusy SnapshotOperationRateExceeded SystemInUse""",
    # The blob is not there. Reading and deleting have a value for that; otherwise somebody deleted it meanwhile.
    "gone": "BlobNotFound PathNotFound",
    # It will not work until somebody acts. This also applies to any code that is not in this table.
    "denied": """
        AccountIsDisabled AuthenticationFailed AuthorizationFailure AuthorizationPermissionMismatch BlobArchived
        BlobBeingRehydrated BlobImmutableDueToPolicy ContainerNotFound DirectoryIsNotEmpty DirectoryNotEmpty
        FilesystemNotFound InsufficientAccountPermissions InvalidAuthenticationInfo LeaseIdMissing
        LeaseIdMismatchWithContainerOperation LeaseNotPresentWithContainerOperation NoAuthenticationInformation
        ResourceNotFound SnapshotsPresent UnauthorizedBlobOverwrite""",
}
KINDS: dict[str, Kind] = {code: kind for kind, codes in _ROWS.items() for code in codes.split()}
"""The meaning of each error code that a request of this app can get. A test compares it with the library's own list."""

LEASED = "LeaseIdMissing"
"""The code of a write to a blob on which somebody holds a lease."""

_PERMISSION = (
    "Does the app's identity have the role Storage Blob Data Contributor on the container, and does the account's "
    "firewall let it in?"
)
_ADVICE = {
    LEASED: (
        "Somebody other than this app holds a lease on this blob: find out who, or break it with "
        "`az storage blob lease break`."
    ),
    "BlobArchived": (
        "The blob is in the archive tier: rehydrate it, and keep lifecycle rules from archiving this container."
    ),
    "BlobBeingRehydrated": "The blob is being rehydrated from the archive tier: run the day again when that is done.",
    "BlobImmutableDueToPolicy": (
        "An immutability policy or a legal hold protects the blob: the app needs a container without one."
    ),
    "ResourceNotFound": "The account does not have it: is the name of the storage account in the settings right?",
    "ContainerNotFound": (
        "The container that EXPORT_CONTAINER names does not exist: create it, or deploy the template, which does so."
    ),
}
_BUSY = (408, 429, 500, 502, 503, 504)
_REFUSALS = 400
_FORBIDDEN = (401, 403)


@contextmanager
def translated(name: str, what: str) -> Iterator[None]:
    """Turn whatever the storage's library raises within into an error of this app.

    Raises ConditionNotMet if another try was there first, or the blob is gone; StorageDenied if somebody has to act;
    StorageUnavailable if there was no answer, or if a later request may succeed.
    """
    try:
        yield
    except HttpResponseError as error:
        raise _of_response(error, name, what) from error
    except (azure.ServiceRequestError, azure.ServiceResponseError, OSError) as error:
        raise StorageUnavailable(
            f"The storage account did not answer when asked to {what} ({name}): {reason(error)}. "
            "Is the account reachable from here?"
        ) from error
    except (azure.AzureError, azure.DeserializationError, HTTPError) as error:
        raise StorageUnavailable(f"The storage failed to {what} ({name}): {reason(error)}.") from error


def code_of(error: HttpResponseError) -> str:
    """The storage's own word for a refusal; empty if it gave none."""
    headers: Any = getattr(error.response, "headers", {})
    code: Any = getattr(error, "error_code", None) or headers.get("x-ms-error-code", "")
    return str(getattr(code, "value", code))


def _of_response(error: HttpResponseError, name: str, what: str) -> ExportError:
    status, code = error.status_code or 0, code_of(error)
    if isinstance(error, azure.ClientAuthenticationError) and not error.status_code:
        return StorageDenied(
            f"No token for the storage account to {what} ({name}): is the managed identity assigned to the app, and "
            "EXPORT_STORAGE__clientId its client id? Or, with a connection string: is its AccountKey complete?"
        )
    kind = KINDS.get(code, "busy" if status in _BUSY else "denied")
    # Below 400, or without a status, it did not refuse: its answer broke off, or something else answered.
    if kind == "busy" or status < _REFUSALS:
        return StorageUnavailable(f"The storage account could not {what} ({name}) now: {status} {code}.")
    if kind == "race":
        return ConditionNotMet(f"The storage refused to {what} ({name}): {code}.")
    if kind == "gone":
        return ConditionNotMet(f"Nothing is left to {what} ({name}): {code}.")
    advice = _ADVICE.get(code, _PERMISSION if status in _FORBIDDEN else "The code names the reason.")
    return StorageDenied(f"The storage account refused to {what} ({name}): {status} {code}. {advice}", code=code)
