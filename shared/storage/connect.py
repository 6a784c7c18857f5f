"""Connects to the storage: sessions, retries, and the credentials of the settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ExponentialRetry

from shared.errors import StorageDenied
from shared.http import Session, is_protected
from shared.settings import Settings
from shared.storage.client import StagingClient
from shared.storage.container import DOCUMENT_BYTES, Container

CONNECT_SECONDS = 20
READ_SECONDS = 60


@contextmanager
def open_container(settings: Settings) -> Iterator[Container]:
    """The container that the settings name. With a connection string, it is created if it is missing.

    Raises StorageDenied if the connection string is malformed, or leads to another machine by plain http.
    """
    with open_client(settings) as client:
        container = Container(client)
        if settings.storage_connection:
            container.ensure_exists()
        yield container


def open_client(settings: Settings) -> StagingClient:
    """The library's own client of that container, for programs that read whole days. Raises as `open_container`."""
    # The time-outs belong to the transport. With a transport, the client ignores its own options of that name.
    transport = RequestsTransport(
        session=_StorageSession(), connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS
    )
    retries = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=5, random_jitter_range=1)
    options: Any = {"transport": transport, "retry_policy": retries, "max_single_get_size": DOCUMENT_BYTES}
    if not settings.storage_connection:
        identity = credential(settings.storage_client_id, in_azure=settings.in_azure)
        return StagingClient(settings.storage_url, settings.container, credential=identity, **options)
    try:
        client = StagingClient.from_connection_string(settings.storage_connection, settings.container, **options)
    except ValueError:
        # The library's message may repeat parts of the string, and so the account's key.
        raise StorageDenied(
            "EXPORT_STORAGE is not a connection string that the storage library understands: copy it again."
        ) from None
    if not is_protected(client.url):
        raise StorageDenied("EXPORT_STORAGE leads to another machine by plain http: use https.")
    return client


class _StorageSession(Session):
    """A session for a client of the storage's library."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send it. A body comes as it is stored: a blob that claims to be compressed could expand a thousandfold."""
        response = super().send(request, **options)
        response.raw.headers.pop("Content-Encoding", None)
        return response


def credential(client_id: str, *, in_azure: bool) -> TokenCredential:
    """The managed identity in Azure; elsewhere the person who is signed in."""
    # Imported only where it is used: its import takes half as long as all others together, and a laptop may not need
    # it.
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415

    transport = RequestsTransport(session=Session(), session_owner=False)
    if in_azure:
        return ManagedIdentityCredential(client_id=client_id or None, transport=transport)
    # Each time, it logs what each of its ten methods needs. The error below says what to do.
    logging.getLogger("azure.identity").setLevel(logging.ERROR)
    return _SignedIn(DefaultAzureCredential(managed_identity_client_id=client_id or None, transport=transport))


class _SignedIn:
    """A credential outside Azure. Without a sign-in it fails at once, because retries would not help."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """The token that the storage library requests from a credential."""
        try:
            return self._credential.get_token(*scopes, **options)
        except ClientAuthenticationError as error:
            raise StorageDenied(
                "No token for the storage account: nobody is signed in here. Run `az login` as somebody who has the "
                "role Storage Blob Data Contributor on the container."
            ) from error
