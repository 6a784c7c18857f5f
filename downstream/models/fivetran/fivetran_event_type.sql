{{ config(alias='event_type', materialized='view') }}

{# The Export API knows event types only from events, so everything that is set in Amplitude's own lists is null. #}
{% set flags = [
    'autohidden', 'deleted', 'flow_hidden', 'hidden', 'in_waitroom', 'non_active', 'timeline_hidden', 'waitroom_approved',
] %}

select
    {{ event_type_id('event_type') }} as id,
    event_type as name,
    event_type as value,
    event_type as display,
    app::varchar as project_name,
    count(*) filter (server_upload_time >= current_date - interval 7 days) as totals,
    null::bigint as totals_delta,
    {% for flag in flags %}
    null::boolean as {{ flag }},
    {% endfor %}
    false as _fivetran_deleted,
    max(server_upload_time) as _fivetran_synced
from {{ ref('events') }}
where event_type is not null
group by event_type, app
