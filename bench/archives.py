"""`python -m bench.archives CERTIFICATE FOLDER`: an Export API that serves the archives in a folder.

It costs less than the simulator, which can do much that no measurement needs. Each answer is a day's file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.wire import Connection, Steps, serve

_PIECE_BYTES = 1024 * 1024


def main() -> None:
    """Serve until stdin ends."""
    certificate, folder = map(Path, sys.argv[1:])
    serve(certificate, lambda connection: _talk(connection, folder))


def _talk(connection: Connection, folder: Path) -> Steps:
    piece = memoryview(bytearray(_PIECE_BYTES))
    while True:
        head = yield from connection.head()
        path = folder / f"{head.query['start'].partition('T')[0]}.zip"
        with path.open("rb", buffering=0) as file:
            yield from connection.answer(200, {"Content-Type": "application/zip"}, length=path.stat().st_size)
            while count := file.readinto(piece):
                yield from connection.send(piece[:count])


if __name__ == "__main__":
    main()
