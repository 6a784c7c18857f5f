"""Event lines as table rows: the columns of `silver.events`, the whole line, and what was wrong with it.

No line stops the others. A line that is not a JSON object is a row with nothing but its text in `raw`; a value that
does not fit its column is null. In both cases `problem` says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import cast

import duckdb
import pyarrow as pa

BATCH_BYTES = 512 * 1024
"""About how much text is read at a time, or one line if it is longer."""
ROWS_IN_BATCH = 256

_TYPES = {
    "event_id": "bigint",
    "amplitude_id": "bigint",
    "session_id": "bigint",
    "event_time": "timestamp",
    "client_event_time": "timestamp",
    "client_upload_time": "timestamp",
    "server_received_time": "timestamp",
    "server_upload_time": "timestamp",
    "processed_time": "timestamp",
    "user_creation_time": "timestamp",
    "app": "bigint",
    "paying": "boolean",
    "is_attribution_event": "boolean",
    "schema": "bigint",
    "location_lat": "double",
    "location_lng": "double",
    "page_counter": "bigint",
}
"""The columns that are not text."""

_EVENT_KEYS = (
    "uuid", "$insert_id", "event_id", "event_type", "user_id", "device_id", "amplitude_id", "session_id",
    "event_time", "client_event_time", "client_upload_time", "server_received_time", "server_upload_time",
    "processed_time", "user_creation_time",
    "app", "library", "platform", "os_name", "os_version", "language", "version_name", "start_version", "paying",
    "is_attribution_event", "$schema",
    "device_family", "device_type", "device_brand", "device_manufacturer", "device_model", "device_carrier",
    "adid", "idfa", "ip_address",
    "country", "region", "city", "dma", "location_lat", "location_lng",
)  # fmt: skip
_EVENT_PROPERTIES = {
    "page_url": "[Amplitude] Page URL",
    "page_location": "[Amplitude] Page Location",
    "page_domain": "[Amplitude] Page Domain",
    "page_path": "[Amplitude] Page Path",
    "page_title": "[Amplitude] Page Title",
    "page_counter": "[Amplitude] Page Counter",
    "element_text": "[Amplitude] Element Text",
    "referrer": "referrer",
    "referring_domain": "referring_domain",
}
_USER_PROPERTIES = (
    "initial_referrer", "initial_referring_domain", "initial_utm_source", "initial_utm_medium", "initial_utm_campaign",
    "initial_utm_term", "initial_utm_content",
)  # fmt: skip
_JSON_KEYS = (
    "event_properties", "user_properties", "global_user_properties", "groups", "group_properties", "plan", "data",
    "amplitude_attribution_ids",
)  # fmt: skip

_PATHS = {
    **{key.removeprefix("$"): f'$."{key}"' for key in _EVENT_KEYS},
    **{column: f'$.event_properties."{key}"' for column, key in _EVENT_PROPERTIES.items()},
    **{key: f'$.user_properties."{key}"' for key in _USER_PROPERTIES},
}


def rows(pieces: Iterable[bytes], constants: Mapping[str, pa.Scalar]) -> Iterator[pa.RecordBatch]:
    """The rows of a file, given its decompressed bytes piece by piece.

    Lazy: holds a few batches, whatever the size of the file. An error of the pieces comes through unchanged.

    Args:
        pieces: the decompressed bytes.
        constants: the values of the columns that are the same for all rows: `export_date`, `export_try`, `export_hour`
            and `blob`.

    """
    errors: list[Exception] = []

    def texts() -> Iterator[pa.RecordBatch]:
        try:
            for lines in _lines(pieces):
                yield from _text(lines, constants).to_batches()
        except Exception as error:
            errors.append(error)  # DuckDB turns it into text
            raise

    stream = pa.RecordBatchReader.from_batches(_text([], constants).schema, texts())
    with duckdb.connect(config={"threads": 1}) as database:
        try:
            for batch in _query(database, stream).to_arrow_reader(ROWS_IN_BATCH):
                yield batch.cast(schema())
        except Exception:
            if errors:
                raise errors[0] from None
            raise


@cache
def schema() -> pa.Schema:
    """The columns and their types. Times are UTC."""
    constants = {
        "export_date": pa.scalar(None, pa.date32()),
        "export_try": pa.scalar(None, pa.string()),
        "export_hour": pa.scalar(None, pa.int32()),
        "blob": pa.scalar(None, pa.string()),
    }
    with duckdb.connect() as database:
        found = _query(database, _text([], constants)).to_arrow_table().schema
    return pa.schema(f.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(f.type) else f for f in found)


def _query(database: duckdb.DuckDBPyConnection, text: pa.Table | pa.RecordBatchReader) -> duckdb.DuckDBPyRelation:
    return cast("duckdb.DuckDBPyRelation", database.from_arrow(text).query("lines", _SQL))


def _lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, about `BATCH_BYTES` at a time. A line of nothing but white space is not an event."""
    kept: list[bytes] = []
    size = 0
    for piece in _cut(pieces):
        end = piece.rfind(b"\n") + 1
        size += len(piece)
        if size < BATCH_BYTES or not end:
            kept.append(piece)
            continue
        yield _split([*kept, piece[:end]])
        kept = [piece[end:]]
        size = len(piece) - end
    yield _split(kept)


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    return (piece[start : start + BATCH_BYTES] for piece in pieces for start in range(0, len(piece), BATCH_BYTES))


def _split(pieces: list[bytes]) -> list[bytes]:
    return [line for line in b"".join(pieces).split(b"\n") if line.strip()]


def _text(lines: list[bytes], constants: Mapping[str, pa.Scalar]) -> pa.Table:
    columns = {name: pa.repeat(value, len(lines)) for name, value in constants.items()}
    return pa.table({**columns, **_decoded(lines)})


def _decoded(lines: list[bytes]) -> dict[str, pa.Array]:
    stored = pa.array(lines, pa.binary())
    try:
        return {"raw": stored.cast(pa.string()), "problem": pa.nulls(len(lines), pa.string())}
    except pa.ArrowInvalid:  # a line is not UTF-8, and a column of text can hold nothing else
        texts = [line.decode(errors="replace") for line in lines]
        problems = [None if text.encode() == line else "not UTF-8" for text, line in zip(texts, lines, strict=True)]
        return {"raw": pa.array(texts, pa.string()), "problem": pa.array(problems, pa.string())}


def _read_as(text: str, sql_type: str) -> str:
    """A text as another type; null if it does not fit. A time has to be finite."""
    cast = f"try_cast({text} as {sql_type})"
    return f"case when isfinite({cast}) then {cast} end" if sql_type == "timestamp" else cast


def _sql() -> str:
    """One pass over the JSON takes all texts out of it, and one all objects."""
    texts = {column: f"texts[{number}]" for number, column in enumerate(_PATHS, 1)}
    objects = {key: f"objects[{number}]" for number, key in enumerate(_JSON_KEYS, 1)}
    values = {column: _read_as(text, _TYPES[column]) if column in _TYPES else text for column, text in texts.items()}
    unfit = [f"case when {texts[c]} is not null and {values[c]} is null then '{c}' end" for c in _TYPES]
    values["session_id"] = f"nullif({values['session_id']}, -1)"
    values |= {key: f"nullif({texts[key]}, 'EMPTY')" for key in _USER_PROPERTIES}
    values |= {key: f"nullif({text}::varchar, 'null')" for key, text in objects.items()}
    paths = ", ".join(f"'{path}'" for path in _PATHS.values())
    json_paths = ", ".join(f"'$.\"{key}\"'" for key in _JSON_KEYS)
    columns = ", ".join(f"{value} as {column}" for column, value in values.items())
    return f"""
        with events as (
            select *, case
                when problem is null and starts_with(ltrim(raw, E' \\t\\r'), '{{') and json_valid(raw) then raw
            end as event
            from lines
        ),
        extracted as (
            select *, json_extract_string(event, [{paths}]) as texts, json_extract(event, [{json_paths}]) as objects
            from events
        )
        select
            export_date, export_try, export_hour, blob, {columns}, raw,
            case
                when problem is not null then problem
                when event is null then 'not a JSON object'
                else nullif(concat_ws(', ', {", ".join(unfit)}), '')
            end as problem
        from extracted
    """  # noqa: S608 - made of the names above


_SQL = _sql()
