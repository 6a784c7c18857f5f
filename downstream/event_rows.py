"""Event lines as table rows: the columns of `silver.events`, the whole line, and what was wrong with it.

No line stops the others. A line that is not a JSON object is a row with nothing but its text in `raw`; a value that
does not fit its column is null. In both cases `problem` says what is wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import local

import duckdb
import pyarrow as pa

BATCH_BYTES = 2 * 1024 * 1024
"""About how much text becomes one batch of rows; a line that is longer is a batch."""
WORKERS = 2

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

    Lazy: holds a few batches, whatever the size of the file. An early close waits for these.

    Args:
        pieces: the decompressed bytes.
        constants: the values of the columns that are the same for all rows: `export_date`, `export_try`, `export_hour`
            and `blob`.

    """
    with ThreadPoolExecutor(WORKERS, "event rows") as workers:
        parsing: deque[Future[pa.Table]] = deque()
        for lines in _lines(pieces):
            parsing.append(workers.submit(_parse, lines, constants))
            if len(parsing) > WORKERS:
                yield from parsing.popleft().result().to_batches()
        while parsing:
            yield from parsing.popleft().result().to_batches()


@cache
def schema() -> pa.Schema:
    """The columns and their types. Times are UTC."""
    constants = {
        "export_date": pa.scalar(None, pa.date32()),
        "export_try": pa.scalar(None, pa.string()),
        "export_hour": pa.scalar(None, pa.int32()),
        "blob": pa.scalar(None, pa.string()),
    }
    return pa.schema(
        field.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(field.type) else field
        for field in _query([], constants).schema
    )


def _lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, some `BATCH_BYTES` at a time. A line of nothing but white space is no event."""
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        size += len(piece)
        if size < BATCH_BYTES or not end:
            kept.append(piece)
            continue
        yield _split([*kept, piece[:end]])
        kept = [piece[end:]]
        size = len(piece) - end
    yield _split(kept)


def _split(pieces: list[bytes]) -> list[bytes]:
    return [line for line in b"".join(pieces).split(b"\n") if line.strip()]


def _parse(lines: list[bytes], constants: Mapping[str, pa.Scalar]) -> pa.Table:
    return _query(lines, constants).cast(schema())


_threads = local()


def _query(lines: list[bytes], constants: Mapping[str, pa.Scalar]) -> pa.Table:
    if not hasattr(_threads, "duckdb"):
        _threads.duckdb = duckdb.connect(config={"threads": 1})  # a connection is for one thread at a time
    columns = {name: pa.repeat(value, len(lines)) for name, value in constants.items()}
    text = pa.table({**columns, **_decoded(lines)})
    return _threads.duckdb.from_arrow(text).query("lines", _SQL).to_arrow_table()


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
