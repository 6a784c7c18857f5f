{{ config(materialized='view') }}

select
    export_date,
    export_try,
    file.name as blob,
    file.hour as export_hour,
    file.part as part,
    file.events as events,
    file.bytes as bytes,
    file.sha256 as sha256
from (
    select export_date, export_try, unnest(files) as file
    from {{ ref('stg_manifests') }}
)
