-- depends_on: {{ ref('stg_manifests') }}
{{ config(materialized='incremental', incremental_strategy='replace_days', on_schema_change='fail') }}

{% set files = files_to_load() %}

with lines as (
    {# The compression is named: DuckDB does not see the ending of a path with a question mark in it. #}
    {% for compression, of_this in group_by_compression(files).items() if of_this %}
    select json, filename
    from read_ndjson_objects(
        [
            {% for file in of_this %}
            {{ one_file(landed_root() ~ file.blob) }}{{ ',' if not loop.last }}
            {% endfor %}
        ],
        filename = true,
        hive_partitioning = false,
        ignore_errors = true,
        compression = '{{ compression }}',
        maximum_object_size = {{ line_limit(of_this) }}
    )
    union all
    {% endfor %}
    select null::json as json, null::varchar as filename where false
)

select
    files.export_date,
    files.export_try,
    files.export_hour,
    files.blob,
    case when json_valid(lines.json) and starts_with(lines.json, '{') then lines.json end as event
from lines
join {{ ref('stg_files') }} as files on lines.filename = '{{ landed_root() | replace("'", "''") }}' || files.blob
