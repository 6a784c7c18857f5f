"""A stand-in for the messages that the Functions host and a worker exchange (FunctionRpc.proto), as far as needed here.

The worker library gets its message classes handed in, and only builds them and reads their fields: plain
namespaces do.
"""

from __future__ import annotations

from types import SimpleNamespace


class Message(SimpleNamespace):
    """Any message: holds the fields that it was made with."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - protobuf's own name
        """The field that is set, of a group of which one is: the message's value."""
        return "data" if group == "rpc_data" else next(iter(vars(self)), None)


class StatusResult(Message):
    """How a request ended."""

    Failure, Success = range(2)


class BindingInfo(Message):
    """A binding; the names are those of its direction, and of a data type that is not given."""

    # The library compares them with the values of azure.functions' own enumerations.
    out = 1
    inout = 2
    undefined = 0


WorkerInitResponse = WorkerMetadata = RpcException = Message
FunctionMetadataResponse = RpcFunctionMetadata = RpcRetryOptions = FunctionLoadResponse = Message
InvocationResponse = ParameterBinding = TypedData = RpcHttp = Message
