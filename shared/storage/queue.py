"""Looks into a queue of the host's storage account. The app gets its messages through the host's bindings, not here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport

from shared.errors import StorageDenied
from shared.http import Session, is_protected
from shared.storage.connect import CONNECT_SECONDS, READ_SECONDS, credential
from shared.storage.errors import translated

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

PEEKED = 32
"""The most messages that the service shows."""


class Queue:
    """A storage queue. A queue that does not exist counts as empty."""

    def __init__(self, client: "QueueClient") -> None:
        self.name = str(client.queue_name)
        self._client = client

    def look(self) -> tuple[list[tuple[str, str]], int]:
        """The id and the text, as sent, of the first messages, and about how many others are hidden.

        Hidden ones are counted only if the service shows all visible ones.
        """
        with translated(self.name, "look into the queue"):
            try:
                shown = [(message.id, message.content) for message in self._client.peek_messages(PEEKED)]
                count = self._client.get_queue_properties().approximate_message_count or 0
            except ResourceNotFoundError:
                return [], 0
        return shown, max(count - len(shown), 0) if len(shown) < PEEKED else 0


@contextmanager
def open_queue(environ: Mapping[str, str], name: str, *, in_azure: bool) -> Iterator[Queue]:
    """A queue of the account that `AzureWebJobsStorage` names. Raises StorageDenied for a wrong connection string."""
    # Imported only where it is used: only the nightly timer needs it, and its import would slow down every cold start.
    from azure.storage.queue import ExponentialRetry, QueueClient  # noqa: PLC0415

    def setting(suffix: str = "") -> str:
        return environ.get(f"AzureWebJobsStorage{suffix}", "").strip()

    transport = RequestsTransport(
        session=Session(), connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, session_owner=True
    )
    options = {"transport": transport, "retry_policy": ExponentialRetry(initial_backoff=1, retry_total=2)}
    if setting():
        try:
            client = QueueClient.from_connection_string(setting(), name, **options)
        except ValueError:  # its message may repeat the account's key
            raise StorageDenied("AzureWebJobsStorage is not a connection string: copy it again.") from None
        if not is_protected(client.url):
            raise StorageDenied("AzureWebJobsStorage leads to another machine by plain http: use https.")
    else:
        url = setting("__queueServiceUri") or f"https://{setting('__accountName')}.queue.core.windows.net"
        client = QueueClient(url, name, credential=credential(setting("__clientId"), in_azure=in_azure), **options)
    with client:
        yield Queue(client)
