"""Replaces the messages between the Functions host and a worker (FunctionRpc.proto), as far as this host needs them.

The worker library gets its message classes from the caller. It only creates messages and reads their fields, so simple
namespaces are enough.
"""

from __future__ import annotations

from types import SimpleNamespace


class Message(SimpleNamespace):
    """Any message. It has the fields with which it was created."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - protobuf's own name
        """The name of the field that is set, in a group of which only one can be set."""
        return "data" if group == "rpc_data" else next(iter(vars(self)), None)


class StatusResult(Message):
    """How a request ended."""

    Failure, Success = range(2)


class BindingInfo(Message):
    """A binding, with the name of its direction and no data type."""

    # The library compares them with the values of azure.functions' own enumerations.
    out = 1
    inout = 2
    undefined = 0


WorkerInitResponse = WorkerMetadata = RpcException = Message
FunctionMetadataResponse = RpcFunctionMetadata = RpcRetryOptions = FunctionLoadResponse = Message
InvocationResponse = ParameterBinding = TypedData = RpcHttp = Message
