-- depends_on: {{ ref('stg_manifests') }}
{{ config(materialized='incremental', incremental_strategy='replace_days', on_schema_change='fail') }}

{# Everything is taken out as text or JSON in one pass, and cast below: a missing key is null, a value of the wrong type
   is an error. DuckDB's strict form fails on the former, its lenient one turns the latter into null. #}
{% set text_keys = [
    'uuid', '$insert_id', 'event_id', 'event_type', 'user_id', 'device_id', 'amplitude_id', 'session_id',
    'event_time', 'client_event_time', 'client_upload_time', 'server_received_time', 'server_upload_time', 'processed_time',
    'user_creation_time', 'app', 'library', 'platform', 'os_name', 'os_version', 'language', 'version_name', 'start_version',
    'device_family', 'device_type', 'device_brand', 'device_manufacturer', 'device_model', 'device_carrier',
    'country', 'region', 'city', 'dma', 'location_lat', 'location_lng', 'paying',
] %}
{% set json_keys = [
    'event_properties', 'user_properties', 'global_user_properties', 'groups', 'group_properties', 'plan', 'data',
] %}

with shaped as (
    select
        export_date,
        export_try,
        export_hour,
        blob,
        unnest(json_transform(event, '{
            {%- for key in text_keys %}"{{ key }}": "VARCHAR", {% endfor %}
            {%- for key in json_keys %}"{{ key }}": "JSON"{{ ', ' if not loop.last }}{% endfor -%}
        }'))
    from {{ ref('stg_events') }} as staged
    where {{ not_loaded_yet('staged') }}
)

select
    export_date,
    export_try,
    export_hour,
    blob,

    uuid,
    "$insert_id" as insert_id,
    event_id::bigint as event_id,
    event_type,
    user_id,
    device_id,
    amplitude_id::bigint as amplitude_id,
    nullif(session_id::bigint, -1) as session_id,

    event_time::timestamp as event_time,
    client_event_time::timestamp as client_event_time,
    client_upload_time::timestamp as client_upload_time,
    server_received_time::timestamp as server_received_time,
    server_upload_time::timestamp as server_upload_time,
    processed_time::timestamp as processed_time,
    user_creation_time::timestamp as user_creation_time,

    app::bigint as app,
    library,
    platform,
    os_name,
    os_version,
    language,
    version_name,
    start_version,
    paying::boolean as paying,

    device_family,
    device_type,
    device_brand,
    device_manufacturer,
    device_model,
    device_carrier,

    country,
    region,
    city,
    dma,
    location_lat::double as location_lat,
    location_lng::double as location_lng,

    {{ event_property('[Amplitude] Page URL') }} as page_url,
    {{ event_property('[Amplitude] Page Location') }} as page_location,
    {{ event_property('[Amplitude] Page Domain') }} as page_domain,
    {{ event_property('[Amplitude] Page Path') }} as page_path,
    {{ event_property('[Amplitude] Page Title') }} as page_title,
    ({{ event_property('[Amplitude] Page Counter') }})::double::bigint as page_counter,
    {{ event_property('[Amplitude] Element Text') }} as element_text,
    {{ event_property('referrer') }} as referrer,
    {{ event_property('referring_domain') }} as referring_domain,

    {{ user_property('initial_referrer') }} as initial_referrer,
    {{ user_property('initial_referring_domain') }} as initial_referring_domain,
    {{ user_property('initial_utm_source') }} as initial_utm_source,
    {{ user_property('initial_utm_medium') }} as initial_utm_medium,
    {{ user_property('initial_utm_campaign') }} as initial_utm_campaign,
    {{ user_property('initial_utm_term') }} as initial_utm_term,
    {{ user_property('initial_utm_content') }} as initial_utm_content,

    {{ json_keys | join(',\n    ') }}
from shaped
