"""Each leg of an export alone, with the project's own code. No export can be faster than the slowest leg."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import requests

from shared.amplitude import Amplitude
from shared.archive.gunzip import PIECE_OUT
from shared.archive.members import Archive
from shared.dates import whole_day
from shared.settings import load_settings
from shared.storage.connect import open_container
from shared.storage.uploader import BLOCK_BYTES, Uploader

_PIECE_BYTES = 256 * 1024


def download(day: date) -> int:
    """Download the archive and discard it. Like all legs, returns the number of decompressed bytes."""
    with requests.Session() as session:
        source = Amplitude(session, load_settings(os.environ))
        with source.fetch(whole_day(day)) as answer:
            if answer is None:
                raise AssertionError("the day has events")
            for _ in answer.chunks:
                pass
    return _decompressed()


def inflate(day: date) -> int:
    """Decompress and verify the archive from a file in the page cache, and discard the events."""
    return sum(len(content) for content in _contents(day))


def checksum(_: date) -> int:
    """Compute the SHA-256 of as many bytes as the day has."""
    digest, block = hashlib.sha256(), os.urandom(BLOCK_BYTES)
    for size in _blocks():
        digest.update(memoryview(block)[:size])
    return _decompressed()


def upload(day: date) -> int:
    """Upload as many bytes as the day has from memory, with the project's block size and threads."""
    block = [os.urandom(PIECE_OUT)] * (BLOCK_BYTES // PIECE_OUT)
    with open_container(load_settings(os.environ)) as container, Uploader(container.stage) as uploader:
        for number, size in enumerate(_blocks()):
            uploader.stage(f"{day}.json", f"{number:05d}", block if size == BLOCK_BYTES else [bytes(size)], size)
        uploader.settle()
    return _decompressed()


def _contents(day: date) -> Iterator[bytes]:
    for member in Archive(_chunks(), whole_day(day), compressed=False):
        for _, content in member:
            yield content


def _chunks() -> Iterator[bytes]:
    with Path(os.environ["BENCH_ARCHIVE"]).open("rb", buffering=0) as file:
        while chunk := file.read(_PIECE_BYTES):
            yield chunk


def _decompressed() -> int:
    return int(os.environ["BENCH_BYTES"])


def _blocks() -> Iterator[int]:
    whole, rest = divmod(_decompressed(), BLOCK_BYTES)
    yield from [BLOCK_BYTES] * whole
    if rest:
        yield rest
