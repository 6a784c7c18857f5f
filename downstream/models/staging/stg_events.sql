-- depends_on: {{ ref('stg_manifests') }}
{{ config(materialized='incremental', incremental_strategy='replace_days', on_schema_change='fail') }}

{% set blobs = files_to_load() %}

with lines as (
    {% if blobs %}
    select json as event, filename
    from read_ndjson_objects(
        [
            {% for blob in blobs %}
            '{{ (landed_root() ~ blob) | replace("'", "''") }}'{{ ',' if not loop.last }}
            {% endfor %}
        ],
        filename = true,
        hive_partitioning = false
    )
    {% else %}
    select null::json as event, null::varchar as filename where false
    {% endif %}
)

select
    files.export_date,
    files.export_try,
    files.export_hour,
    files.blob,
    lines.event
from lines
join {{ ref('stg_files') }} as files on lines.filename = '{{ landed_root() | replace("'", "''") }}' || files.blob
