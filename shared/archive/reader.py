"""Reads bytes that arrive in chunks, in the pieces that a format needs."""

from collections.abc import Iterable

from shared.errors import BrokenArchive

Bytes = bytes | memoryview
"""A view of the source's bytes avoids a copy."""


class ByteReader:
    """Reads chunks in order, and takes the next one only when its bytes are needed. `what` names the data in errors."""

    def __init__(self, chunks: Iterable[Bytes], what: str) -> None:
        self._chunks = iter(chunks)
        self._what = what
        self._chunk = memoryview(b"")
        self._next = 0
        self.position = 0

    def take(self, most: int) -> memoryview:
        """The next bytes, as many as are available, at most `most`. Empty only at the end."""
        while self._next == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return memoryview(b"")
            self._chunk, self._next = memoryview(chunk), 0
        piece = self._chunk[self._next : self._next + most]
        self._next += len(piece)
        self.position += len(piece)
        return piece

    def put_back(self, size: int) -> None:
        """Put back the last `size` bytes that `take` has just returned."""
        self._next -= size
        self.position -= size

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, without reading them. Fewer only at the end."""
        pieces = [self._chunk[self._next :]]
        missing = size - len(pieces[0])
        while missing > 0 and (chunk := next(self._chunks, None)) is not None:
            pieces.append(memoryview(chunk))
            missing -= len(chunk)
        if len(pieces) > 1:
            self._chunk, self._next = memoryview(b"".join(pieces)), 0
        return bytes(self._chunk[self._next : self._next + size])

    def exactly(self, size: int, place: str) -> bytes:
        """The next `size` bytes. Raises BrokenArchive if there are fewer; `place` says where the cut is."""
        data = bytearray()
        while len(data) < size:
            piece = self.take(size - len(data))
            if not piece:
                raise self.cut(place)
            data += piece
        return bytes(data)

    def cut(self, place: str) -> BrokenArchive:
        """The error if the bytes end too early."""
        return BrokenArchive(f"{self._what} is cut off {place}, after {self.position} bytes.")
