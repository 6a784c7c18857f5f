"""The library's client of a container, with two requests of its own: a day is made of blocks and block lists.

The library's own methods for them run nine times as much code for each request. An export of many small files would
spend most of its time there.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from copy import copy
from email.message import Message
from functools import cached_property
from http.client import HTTPResponse
from itertools import count
from time import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4
from weakref import proxy
from wsgiref.handlers import format_date_time

import requests
import urllib3
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline import Pipeline, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import HTTPPolicy, SansIOHTTPPolicy, UserAgentPolicy
from azure.core.pipeline.transport import HttpRequest, RequestsTransport
from azure.storage.blob import ContainerClient
from azure.storage.blob import __version__ as version
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from shared.http import CONNECTIONS, Adapter

_CREATED = 201
# The usual answer: a complete head, without anything that changes what follows it. Others take the long way.
_OTHER_LINES = rb"(?:(?!Content-Length|Transfer-Encoding|Connection)[!-9;-~]+:[^\r\n]*\r\n|Connection: keep-alive\r\n)*"
_EMPTY_CREATED = re.compile(
    rb"HTTP/1\.1 201 [^\r\n]*\r\n%sContent-Length: 0\r\n%s\r\n" % (_OTHER_LINES, _OTHER_LINES), re.IGNORECASE
)
_REQUEST_ID = "x-ms-client-request-id"
_NO_RETRIES = urllib3.Retry(total=False, redirect=False)
_TLS_RECORD = 16 * 1024


class StagingClient(ContainerClient):
    """A client of a container. Its two requests have the library's retries, credentials, transport and exceptions.

    `transport` and `retry_policy` are options of the library that must be given.
    """

    def __init__(self, account_url: str, container_name: str, credential: Any = None, **options: Any) -> None:  # noqa: ANN401 - as its base
        super().__init__(account_url, container_name, credential, **options)
        self._base, _, self._signature = self.url.partition("?")
        self._headers = {
            "Host": urlsplit(self.url).netloc.rpartition("@")[2],
            "User-Agent": UserAgentPolicy(sdk_moniker=f"storage-blob/{version}").user_agent,
            "x-ms-version": self.api_version,
        }
        transport: RequestsTransport = options["transport"]
        # A step of a pipeline knows the next step, so this pipeline needs steps of its own.
        steps = [
            copy(options["retry_policy"]),
            _Stamped(),
            copy(self._credential_policy),
            _Sender(transport, self._base),
        ]
        self._requests: Pipeline[HttpRequest, Any] = Pipeline(transport, steps)

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
        request = HttpRequest("PUT", url, data=pieces)  # type: ignore[arg-type]  # the last step takes pieces
        request.headers = headers  # a plain dictionary: the library's own kind is slow
        response = self._requests.run(request).http_response
        if response.status_code != _CREATED:
            raise HttpResponseError(response=response)


class _Stamped(SansIOHTTPPolicy[HttpRequest, Any]):
    """Sets the date and the id of each request. A repeated request gets new ones."""

    def __init__(self) -> None:
        self._client, self._count = uuid4(), count(1)

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        headers = request.http_request.headers
        headers["x-ms-date"] = format_date_time(time())
        headers[_REQUEST_ID] = f"{self._client}-{next(self._count)}"
        # The step that signs sorts them in Python, which is fast if they are in order.
        request.http_request.headers = dict(sorted(headers.items()))


class _Sender(HTTPPolicy[HttpRequest, Any]):
    """The last step: sends over connections of its own. With `requests`, each request would cost twice as much."""

    def __init__(self, transport: RequestsTransport, url: str) -> None:
        super().__init__()
        self._session: Any = transport.session
        self._adapter: Any = Adapter(pool_maxsize=CONNECTIONS)
        self._session.mount("staging:", self._adapter)  # so that the session closes it
        self._url = url
        self._origin = len("{0.scheme}://{0.netloc}".format(urlsplit(url)))
        limits = transport.connection_config
        self._timeout = urllib3.Timeout(connect=limits.timeout, read=limits.read_timeout)

    def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, Any]:
        """Send the request. What `urllib3` raises becomes what a transport raises."""
        sent: Any = request.http_request
        try:
            answer = self._connections.urlopen(
                sent.method,
                "/",  # the pool would check each character of the real one
                (sent.url[self._origin :], sent.data),
                sent.headers,
                retries=_NO_RETRIES,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
            )
        except (ProtocolError, ReadTimeoutError) as error:
            raise ServiceResponseError(error, error=error) from error
        except HTTPError as error:
            raise ServiceRequestError(error, error=error) from error
        return PipelineResponse(sent, answer, request.context)

    @cached_property
    def _connections(self) -> urllib3.HTTPConnectionPool:
        """A pool as `requests` makes one for this account: with the environment's proxy and CA bundle."""
        proxies, _, verify, cert = self._session.merge_environment_settings(self._url, {}, None, None, None).values()
        request = requests.Request("PUT", self._url).prepare()
        pool: urllib3.HTTPConnectionPool = self._adapter.get_connection_with_tls_context(request, verify, proxies, cert)
        self._adapter.cert_verify(pool, self._url, verify, cert)
        pool.ConnectionCls = _SecureConnection if pool.scheme == "https" else _PlainConnection  # type: ignore[assignment]
        weak: urllib3.HTTPConnectionPool = proxy(pool)  # only the adapter keeps it, until it is closed
        return weak


class _PlainConnection(HTTPConnection):
    """Sends a complete request and reads the head of its answer, in few steps.

    The head and the beginning of the body share one TLS record. So a small request is one packet.
    """

    def request(  # type: ignore[override]
        self, method: str, _: str, body: tuple[str, Sequence[bytes]], headers: Mapping[str, str], **__: Any
    ) -> None:
        """Send a request. `body`: its target, and its body in pieces."""
        target, pieces = body
        lines = [f"{method} {target} HTTP/1.1", *map(": ".join, headers.items())]
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("a header has more than one line")
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        self._request_id = headers[_REQUEST_ID]
        if self.sock is None:
            self.connect()
        first, *others = pieces or [b""]
        with_head = _TLS_RECORD - len(head)
        self.sock.sendall(head + first[:with_head])
        if len(first) > with_head:
            self.sock.sendall(memoryview(first)[with_head:])
        for piece in others:
            self.sock.sendall(piece)

    def getresponse(self) -> SimpleNamespace:  # type: ignore[override]
        """Read the answer without its body: nobody needs it, and it may be of any length.

        Raises ProtocolError if it answers another request. The storage repeats each request's id. If a proxy drops
        it, the connection ends with this answer.
        """
        if self.sock.gettimeout() != self.timeout:
            self.sock.settimeout(self.timeout)
        with self.sock.makefile("rb") as file:
            head = file.peek()
            if _EMPTY_CREATED.fullmatch(head) and f"\r\n{_REQUEST_ID}: {self._request_id}\r\n".encode() in head:
                status, reason, headers, ends = _CREATED, "Created", Message(), False
            else:
                buffered: Any = SimpleNamespace(makefile=lambda _: file)
                with HTTPResponse(buffered, method="PUT") as answer:
                    answer.begin()
                    status, reason, headers = answer.status, answer.reason, answer.headers
                    ends = answer.will_close or answer.status != _CREATED or answer.read(1) != b""
                if headers.get(_REQUEST_ID, self._request_id) != self._request_id:
                    raise ProtocolError("the storage answered another request")
                ends = ends or _REQUEST_ID not in headers
        # What follows an unexpected answer, or is already decrypted, would be the answer to the next request.
        if ends or getattr(self.sock, "pending", int)():
            self.close()
        # The pool needs the last three; the rest is what an answer of a transport has.
        return SimpleNamespace(
            status_code=status,
            reason=reason,
            headers=headers,
            status=status,
            version_string="HTTP/1.1",
            length_remaining=0,
        )


class _SecureConnection(_PlainConnection, HTTPSConnection):
    """A `_PlainConnection` over TLS."""


def _encoded(block_id: str) -> str:
    return b64encode(block_id.encode()).decode()
