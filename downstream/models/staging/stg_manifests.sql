{{ config(materialized='table') }}

select
    date as export_date,
    try as export_try,
    run_id,
    status,
    finished_at,
    totals.events as events,
    totals.bytes as bytes,
    empty_hours,
    warnings,
    files
from {{ source('landed', 'manifests') }}
