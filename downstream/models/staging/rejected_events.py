"""The lines of listed files that are not events: where each one is, its bytes, and the reason.

`stg_lines` has a row without an event for each of them. Only the files with such rows are read here, line by line.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from itertools import batched
from typing import Any, BinaryIO, cast

import duckdb

BATCH = 1000


def model(dbt: Any, session: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:  # noqa: ANN401 - dbt's own class is made at run time
    """The rejected lines of the files that have not been looked through yet."""
    dbt.config(materialized="incremental", incremental_strategy="replace_days", on_schema_change="fail")
    dbt.ref("stg_manifests")  # the strategy `replace_days` reads it
    key = "export_date, export_try, blob"
    wanted = dbt.ref("stg_lines").filter("event is null").aggregate(key)
    if dbt.is_incremental:
        wanted = wanted.except_(session.table(str(dbt.this)).aggregate(key))
    session.execute(
        "create or replace temp table rejected_lines "
        "(export_date date, export_try varchar, blob varchar, line_number bigint, reason varchar, line blob)"
    )
    for day, try_id, blob in wanted.fetchall():
        with _open(session, os.environ.get("LANDED", "../landed").rstrip("/") + "/" + blob) as file:
            for number, reason, line in _rejected(session, file):
                row = [day, try_id, blob, number, reason, line]
                session.execute("insert into rejected_lines values ($1, $2, $3, $4, $5, $6)", row)
    return session.table("rejected_lines")


def _open(session: duckdb.DuckDBPyConnection, path: str) -> BinaryIO:
    """A file's decompressed bytes. DuckDB reads one in Azure as a whole."""
    if "://" in path:
        pattern = "".join(f"[{char}]" if char in "[*?" else char for char in path)
        rows = session.execute("select content from read_blob($1)", [pattern]).fetchall()
        stored: BinaryIO = io.BytesIO(rows[0][0])
    else:
        stored = open(path, "rb")  # noqa: SIM115, PTH123 - the caller closes it
    return cast("BinaryIO", gzip.GzipFile(fileobj=stored)) if path.endswith(".gz") else stored


def _rejected(session: duckdb.DuckDBPyConnection, file: BinaryIO) -> Iterator[tuple[int, str, bytes]]:
    """Number, reason and bytes of each line that is not an event. Blank lines are skipped."""
    for batch in batched(((number, line.strip()) for number, line in enumerate(file, 1)), BATCH):
        texts = {}
        for number, line in batch:
            try:
                texts[number] = line.decode()
            except UnicodeDecodeError as error:
                yield number, f"not UTF-8 at byte {error.start + 1}", line
        malformed = session.execute(
            "select number, line, kind from (select number, line, json_type(try_cast(line as json)) as kind "
            "from (select unnest($1::bigint[]) as number, unnest($2::varchar[]) as line)) "
            "where kind is distinct from 'OBJECT' and line <> '' order by number",
            [list(texts), list(texts.values())],
        ).fetchall()
        for number, text, kind in malformed:
            yield number, f"not an object but {kind}" if kind else _why_malformed(session, text), text.encode()


def _why_malformed(session: duckdb.DuckDBPyConnection, text: str) -> str:
    try:
        session.execute("select $1::json", [text])
    except duckdb.Error as error:
        return str(error).partition("  Input:")[0].rpartition("Error: ")[2]
    return "not read as JSON"
