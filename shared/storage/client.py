"""The library's client of a container, with two requests of its own: a day is made of blocks and block lists.

The library's own methods for them run three times as much code for each request. With many small files, that is what
an export costs.
"""

import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from copy import copy
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import Pipeline, PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy, UserAgentPolicy
from azure.core.pipeline.transport import HttpRequest, HttpResponse
from azure.storage.blob import ContainerClient
from azure.storage.blob import __version__ as version

_CREATED = 201


class StagingClient(ContainerClient):
    """A client of a container. Its two requests have the library's retries, credentials, transport and exceptions.

    `transport` and `retry_policy` are options of the library that must be given.
    """

    def __init__(self, account_url: str, container_name: str, credential: Any = None, **options: Any) -> None:  # noqa: ANN401 - as its base
        super().__init__(account_url, container_name, credential, **options)
        self._base, _, self._signature = self.url.partition("?")
        self._headers = {
            "User-Agent": UserAgentPolicy(sdk_moniker=f"storage-blob/{version}").user_agent,
            "x-ms-version": self.api_version,
        }
        # A step of a pipeline knows the next step, so this pipeline needs steps of its own.
        steps = [copy(options["retry_policy"]), _Dated(), copy(self._credential_policy)]
        self._requests: Pipeline[HttpRequest, HttpResponse] = Pipeline(options["transport"], steps)

    def stage_block(self, name: str, block_id: str, pieces: Sequence[bytes]) -> None:
        """Upload a block (Put Block), in pieces."""
        headers = {"Content-Type": "application/octet-stream"}
        self._put(name, f"comp=block&blockid={quote(_encoded(block_id), safe='')}", headers, pieces)

    def commit_block_list(
        self, name: str, block_ids: Sequence[str], content_type: str, metadata: Mapping[str, str]
    ) -> None:
        """Make a blob of staged blocks (Put Block List), if there is none with this name."""
        headers = {
            "Content-Type": "application/xml",
            "If-None-Match": "*",
            "x-ms-blob-content-type": content_type,
            **{f"x-ms-meta-{key}": value for key, value in metadata.items()},
        }
        blocks = "".join(f"<Latest>{_encoded(block_id)}</Latest>" for block_id in block_ids)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'
        self._put(name, "comp=blocklist", headers, [body.encode()])

    def _put(self, name: str, query: str, headers: dict[str, str], pieces: Sequence[bytes]) -> None:
        url = f"{self._base}/{quote(name, safe='~/')}?{query}{'&' if self._signature else ''}{self._signature}"
        headers |= {**self._headers, "Content-Length": str(sum(map(len, pieces)))}
        response = self._requests.run(HttpRequest("PUT", url, headers, data=pieces)).http_response  # type: ignore[arg-type]  # the transport takes an iterable
        if response.status_code != _CREATED:
            raise HttpResponseError(response=response)


class _Dated(SansIOHTTPPolicy[HttpRequest, HttpResponse]):
    """Gives each request its date and an id for the storage's logs, and again if it is repeated."""

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        request.http_request.headers["x-ms-date"] = formatdate(usegmt=True)
        request.http_request.headers["x-ms-client-request-id"] = str(uuid.uuid4())


def _encoded(block_id: str) -> str:
    return b64encode(block_id.encode()).decode()
