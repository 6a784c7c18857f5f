"""How people export today (see the comparison in the docs): the way of public scripts and connectors."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import requests
from azure.storage.blob import ContainerClient


def by_hand(day: date) -> int:
    """The usual script: download into memory, write the zip, unpack twice on disk, then upload file by file."""
    container = _container()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "export.zip").write_bytes(_download(day))
        with zipfile.ZipFile(folder / "export.zip") as archive:
            archive.extractall(folder / "packed")
        size = 0
        for packed in sorted((folder / "packed").rglob("*.json.gz")):
            unpacked = folder / packed.stem
            with gzip.open(packed) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target)
            with unpacked.open("rb") as file:
                container.upload_blob(unpacked.name, file, overwrite=True)
            size += unpacked.stat().st_size
    return size


def parsed(day: date) -> int:
    """The connectors' way: parse each event, collect all of them in a list, and write the list as JSON."""
    size, events = 0, []
    with zipfile.ZipFile(io.BytesIO(_download(day))) as archive:
        for name in archive.namelist():
            raw = gzip.decompress(archive.read(name))
            size += len(raw)
            events += [json.loads(line) for line in raw.splitlines()]
    _container().upload_blob(f"{day}.json", json.dumps(events).encode(), overwrite=True)
    return size


def _download(day: date) -> bytes:
    answer = requests.get(
        os.environ["AMP_EXPORT_URL"],
        params={"start": f"{day:%Y%m%d}T00", "end": f"{day:%Y%m%d}T23"},
        auth=(os.environ["AMP_API_KEY"], os.environ["AMP_SECRET_KEY"]),
        timeout=600,
    )
    answer.raise_for_status()
    return answer.content


def _container() -> ContainerClient:
    return ContainerClient.from_connection_string(os.environ["EXPORT_STORAGE"], os.environ["EXPORT_CONTAINER"])
