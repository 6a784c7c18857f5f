"""Keeps a Delta table of all landed events up to date: `python -m downstream.delta TARGET`.

Each day is a partition. A new or changed day is replaced in one commit. The commit also records which try of the day
the table now holds, as an application transaction in the table's log. So even if a run is repeated, killed or
overtaken by another, no event gets into the table twice. Readers see a day as it was before its commit or after it.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from azure.core.exceptions import AzureError
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cli.settings import find_settings
from downstream.event_rows import rows, schema
from downstream.source import ContainerSource, FolderSource, Source
from shared.archive.gunzip import gunzip
from shared.archive.reader import ByteReader
from shared.days.manifest import LandedFile, Manifest
from shared.errors import ExportError, SettingsError
from shared.names import is_safe
from shared.settings import Settings, load_storage_settings
from shared.storage.connect import credential, open_client

ATTEMPTS = 5
"""How often a day is written if other writers or new exports keep overtaking it."""
ROWS_IN_GROUP = 4 * 1024
"""The writer holds a row group in memory."""
os.environ.setdefault("DELTARS_WRITER_BATCH_CHANNEL_SIZE", "1")  # fewer rows wait between its reader and its writer
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_PAGE_BYTES = 128 * 1024
"""The writer holds a page and a dictionary for each of some 80 columns."""
FILE_BYTES = 128 * 1024 * 1024
_SCOPE = "https://storage.azure.com/.default"
NO_TRY = -1
"""The version of a day's application transaction once the day has been removed."""

Options = Callable[[], dict[str, str]]
"""Returns the options with which delta-rs reaches the target. Called before each day, because a token expires."""


class TableError(Exception):
    """The table could not be brought up to date. All days that were committed before are complete."""


class _Overtaken(Exception):
    """A new export has replaced the files of the day that is being read."""


_ERRORS = (TableError, ExportError, AzureError, DeltaError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What happened to a day that was new, had changed, or had expired."""

    day: date
    try_id: str | None
    """None if the day was removed."""
    events: int
    problems: int
    """Rows with a `problem`."""

    def __str__(self) -> str:
        if self.try_id is None:
            return f"{self.day}: removed, because it no longer has a manifest"
        problems = f", {self.problems:,} of them with a problem" if self.problems else ""
        return f"{self.day}: {self.events:,} events of try {self.try_id}{problems}"


class EventsTable:
    """The Delta table at a target. Any number of writers may work on it at the same time."""

    def __init__(self, target: str, options: Options, prefix: str) -> None:
        self._target = target
        self._options = options
        self._configuration = {"amplitude-export.prefix": prefix, "delta.checkpointInterval": "10"}

    def update(self, source: Source) -> Iterator[Replaced | TableError]:
        """Bring the table up to date while it is iterated, oldest day first. A day that fails does not stop the others.

        Raises:
            TableError: the source has no manifest at all, or the table was not made by this command.

        """
        landed = source.days()
        if not landed:
            raise TableError(
                "The source has no manifest. Has a day been exported, and is EXPORT_PREFIX that of the app?"
            )
        held = _held(self._open())
        for day in sorted(landed.keys() | held.keys()):
            if not landed.get(day) or landed[day] != held.get(day):
                try:
                    replaced = self._update_day(source, day)
                except _ERRORS as error:
                    yield TableError(f"{day} was not changed: {type(error).__name__}: {error}")
                else:
                    if replaced:
                        yield replaced

    def optimize(self) -> None:
        """Merge small files of a day into larger ones. Readers see the same rows before and after."""
        self._open().optimize.compact(target_size=FILE_BYTES, writer_properties=_WRITER)

    def vacuum(self) -> None:
        """Delete files that no version of the last seven days needs, those of killed writers included."""
        self._open().vacuum(dry_run=False, full=True)  # without `full`, files that are in no commit stay

    def _update_day(self, source: Source, day: date) -> Replaced | None:
        """Replace a day, unless the table holds what has landed; None in that case."""
        for _ in range(ATTEMPTS):
            # The order matters: if somebody commits after the table was opened, the commit below fails. Whoever
            # committed before had no newer manifest than the one that is read now.
            table = self._open()
            manifest = source.manifest(day)
            version = _version(manifest)
            held = table.transaction_version(_app_id(day))
            if version == (NO_TRY if held is None else held):
                return None
            day_rows = _DayRows(source, manifest)
            try:
                self._replace(table, day, version, day_rows)
            except (CommitFailedError, _Overtaken):
                continue  # another writer has committed the day, or a new export has replaced its files
            return Replaced(day, manifest.try_id if manifest else None, day_rows.events, day_rows.problems)
        raise TableError(f"overtaken {ATTEMPTS} times by other writers or new exports. Run this again later.")

    def _replace(self, table: DeltaTable, day: date, version: int, day_rows: _DayRows) -> None:
        with day_rows.reader() as reader:
            write_deltalake(
                table,
                reader,
                mode="overwrite",
                predicate=f"export_date = '{day}'",
                commit_properties=CommitProperties(app_transactions=[Transaction(_app_id(day), version)]),
                writer_properties=_WRITER,
                target_file_size=FILE_BYTES,
            )

    def _open(self) -> DeltaTable:
        """The table as it is now; created if there is none."""
        options = self._options()
        try:
            table = DeltaTable(self._target, storage_options=options)
        except TableNotFoundError:
            self._create(options)
            table = DeltaTable(self._target, storage_options=options)
        theirs = table.metadata().configuration
        if {name: theirs.get(name) for name in self._configuration} != self._configuration:
            raise TableError(
                f"{self._target} holds another Delta table, or one of another EXPORT_PREFIX. Choose another target: "
                "loading into this one would remove its days."
            )
        return table

    def _create(self, options: dict[str, str]) -> None:
        with suppress(DeltaError):  # another writer may have created it just now; if not, opening it says what is wrong
            DeltaTable.create(
                self._target,
                schema(),
                partition_by="export_date",
                name="amplitude_events",
                configuration=self._configuration,
                storage_options=options,
                raise_if_key_not_exists=False,
                # A retry would write the metadata again, as the next version of another writer's table.
                commit_properties=CommitProperties(max_commit_retries=0),
            )


_WRITER = WriterProperties(
    compression="SNAPPY",
    max_row_group_size=ROWS_IN_GROUP,
    data_page_size_limit=_PAGE_BYTES,
    dictionary_page_size_limit=_PAGE_BYTES,
)


def _app_id(day: date) -> str:
    return f"amplitude-export/{day}"


def _version(manifest: Manifest | None) -> int:
    """The version of a day's application transaction: its try, as a number."""
    if manifest is None:
        return NO_TRY
    if not re.fullmatch("[0-9a-f]{8}", manifest.try_id) or not all(is_safe(file.name) for file in manifest.files):
        raise TableError("its manifest has a try, or the name of a file, that the app does not write.")
    return int(manifest.try_id, 16)


def _held(table: DeltaTable) -> dict[date, str]:
    """The days that have rows, each with its try. One read of the log's file statistics gives all of them.

    A day whose files give no single try has an empty one here; `_update_day` then looks at its application transaction.
    """
    files = pa.table(table.get_add_actions(flatten=True)).select(
        ["partition.export_date", "min.export_try", "max.export_try"]
    )
    held: dict[date, str] = {}
    for day, first, last in zip(*(column.to_pylist() for column in files.columns), strict=True):
        one = first if first and first == last else ""
        held[day] = one if held.get(day, one) == one else ""
    return held


class _DayRows:
    """The rows of a day, read once, as a stream. Counts them on the way."""

    def __init__(self, source: Source, manifest: Manifest | None) -> None:
        self._source = source
        self._manifest = manifest
        self._error: Exception | None = None
        self.events = 0
        self.problems = 0

    @contextmanager
    def reader(self) -> Iterator[pa.RecordBatchReader]:
        """The rows. delta-rs turns an error of theirs into text; the error itself is raised on leaving the context."""
        batches = self._batches()
        try:
            yield pa.RecordBatchReader.from_batches(schema(), batches)
        except Exception:
            if self._error:
                raise self._error from None
            raise
        finally:
            batches.close()

    def _batches(self) -> Generator[pa.RecordBatch]:
        try:
            for manifest, file in ((m, file) for m in (self._manifest,) if m for file in m.files):
                for batch in self._file(manifest, file):
                    self.events += batch.num_rows
                    self.problems += batch.num_rows - batch.column("problem").null_count
                    yield batch
        except Exception as error:
            self._error = _Overtaken() if isinstance(error, FileNotFoundError) else error
            raise

    def _file(self, manifest: Manifest, file: LandedFile) -> Iterator[pa.RecordBatch]:
        constants = {
            "export_date": pa.scalar(manifest.date, pa.date32()),
            "export_try": pa.scalar(manifest.try_id, pa.string()),
            "export_hour": pa.scalar(file.hour, pa.int32()),
            "blob": pa.scalar(file.name, pa.string()),
        }
        with self._source.open(file) as stored:
            yield from rows(_verified(stored, file), constants)


def _verified(stored: Iterator[bytes], file: LandedFile) -> Iterator[bytes]:
    """The decompressed bytes of a file.

    Raises:
        TableError: at the end, if they are not those that the manifest describes.

    """
    checksum = hashlib.sha256()
    for piece in _gunzipped(stored, file.name) if file.name.endswith(".gz") else stored:
        checksum.update(piece)
        yield piece
    if checksum.hexdigest() != file.sha256:
        raise TableError(f"{file.name} does not have the checksum that its manifest gives. Export the day again.")


def _gunzipped(stored: Iterator[bytes], name: str) -> Iterator[bytes]:
    return (content for _, content in gunzip(ByteReader(stored, name), name))


def storage_options(target: str, settings: Settings) -> dict[str, str]:
    """The options with which delta-rs reaches a target: the account of the settings, and its key or a token."""
    with open_client(settings) as client:
        url = urlsplit(client.url)
        account, key = str(client.account_name), getattr(client.credential, "account_key", None)
    if not settings.storage_connection:
        access = {
            "azure_storage_token": credential(settings.storage_client_id, in_azure=settings.in_azure)
            .get_token(_SCOPE)
            .token
        }
    elif key:
        access = {"azure_storage_account_key": key}
    else:
        access = {"azure_storage_sas_key": url.query}
    if not target.startswith("az://"):
        return access  # an abfss:// address names its account
    return access | {
        "azure_storage_account_name": account,
        "azure_storage_endpoint": f"{url.scheme}://{url.netloc}{url.path.rpartition('/')[0]}",
        "azure_allow_http": str(url.scheme == "http").lower(),
    }


def _return_memory() -> None:
    """Make the allocators return freed memory: their defaults keep some 50 MiB of it. Only glibc has the options."""
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in (_M_ARENA_MAX, 2), (_M_TRIM_THRESHOLD, 128 * 1024), (_M_MMAP_THRESHOLD, 64 * 1024):
            mallopt(option, value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 1 if a day, or all, could not be brought up to date, and 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m downstream.delta", description=__doc__)
    parser.add_argument(
        "target",
        help="a folder; az://CONTAINER/PATH in the storage account of the app; or abfss://CONTAINER@ACCOUNT.../PATH",
    )
    parser.add_argument("--mirror", type=Path, metavar="FOLDER", help="read this mirror, not the app's container")
    parser.add_argument("--optimize", action="store_true", help="then merge small files")
    parser.add_argument("--vacuum", action="store_true", help="then delete files unused for 7 days")
    options = parser.parse_args(arguments)
    _return_memory()
    try:
        return _run(options, find_settings(Path.cwd()))
    except SettingsError as error:
        return _complain(error, 2)
    except _ERRORS as error:
        return _complain(error, 1)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    in_azure = "://" in options.target
    with ExitStack() as stack:
        if in_azure or not options.mirror:
            settings = load_storage_settings(environ)
        if options.mirror:
            prefix = environ.get("EXPORT_PREFIX", "")
            source: Source = FolderSource(options.mirror, prefix)
        else:
            prefix = settings.prefix
            source = ContainerSource(stack.enter_context(open_client(settings)), prefix)
        access: Options = (lambda: storage_options(options.target, settings)) if in_azure else dict
        table = EventsTable(options.target, access, prefix)
        failed = 0
        for outcome in table.update(source):
            if isinstance(outcome, Replaced):
                print(outcome, flush=True)
            else:
                failed = _complain(outcome, 1)
        if options.optimize:
            table.optimize()
        if options.vacuum:
            table.vacuum()
    return failed


def _complain(error: Exception, code: int) -> int:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
