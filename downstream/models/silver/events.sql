-- depends_on: {{ ref('stg_manifests') }}, {{ ref('stg_lines') }}
{{ config(materialized='incremental', incremental_strategy='replace_days', on_schema_change='fail') }}

{# Everything is taken out as text or JSON in one pass, and read as its type below. A key that is missing is null. So is
   a value that does not fit its type; its column is named in cast_errors. #}
{% set types = {
    'event_id': 'bigint', 'amplitude_id': 'bigint', 'session_id': 'bigint', 'app': 'bigint', 'schema': 'bigint',
    'event_time': 'timestamp', 'client_event_time': 'timestamp', 'client_upload_time': 'timestamp',
    'server_received_time': 'timestamp', 'server_upload_time': 'timestamp', 'processed_time': 'timestamp',
    'user_creation_time': 'timestamp', 'paying': 'boolean', 'is_attribution_event': 'boolean',
    'location_lat': 'double', 'location_lng': 'double', 'page_counter': 'bigint',
} %}
{% set text_keys = [
    'uuid', '$insert_id', 'event_id', 'event_type', 'user_id', 'device_id', 'amplitude_id', 'session_id',
    'event_time', 'client_event_time', 'client_upload_time', 'server_received_time', 'server_upload_time', 'processed_time',
    'user_creation_time', 'app', 'library', 'platform', 'os_name', 'os_version', 'language', 'version_name', 'start_version',
    'device_family', 'device_type', 'device_brand', 'device_manufacturer', 'device_model', 'device_carrier',
    'country', 'region', 'city', 'dma', 'location_lat', 'location_lng', 'paying', '$schema', 'is_attribution_event',
    'adid', 'idfa', 'ip_address',
] %}
{% set json_keys = [
    'event_properties', 'user_properties', 'global_user_properties', 'groups', 'group_properties', 'plan', 'data',
    'amplitude_attribution_ids',
] %}

with keys as (
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
),

shaped as (
    select
        *,
        "$schema" as "schema",
        {{ event_property('[Amplitude] Page Counter') }} as page_counter
    from keys
)

select
    export_date,
    export_try,
    export_hour,
    blob,

    uuid,
    "$insert_id" as insert_id,
    {{ read_as('event_id', 'bigint') }} as event_id,
    event_type,
    user_id,
    device_id,
    {{ read_as('amplitude_id', 'bigint') }} as amplitude_id,
    nullif({{ read_as('session_id', 'bigint') }}, -1) as session_id,

    {{ read_as('event_time', 'timestamp') }} as event_time,
    {{ read_as('client_event_time', 'timestamp') }} as client_event_time,
    {{ read_as('client_upload_time', 'timestamp') }} as client_upload_time,
    {{ read_as('server_received_time', 'timestamp') }} as server_received_time,
    {{ read_as('server_upload_time', 'timestamp') }} as server_upload_time,
    {{ read_as('processed_time', 'timestamp') }} as processed_time,
    {{ read_as('user_creation_time', 'timestamp') }} as user_creation_time,

    {{ read_as('app', 'bigint') }} as app,
    library,
    platform,
    os_name,
    os_version,
    language,
    version_name,
    start_version,
    {{ read_as('paying', 'boolean') }} as paying,
    {{ read_as('is_attribution_event', 'boolean') }} as is_attribution_event,
    {{ read_as('schema', 'bigint') }} as schema,

    device_family,
    device_type,
    device_brand,
    device_manufacturer,
    device_model,
    device_carrier,
    adid,
    idfa,
    ip_address,

    country,
    region,
    city,
    dma,
    {{ read_as('location_lat', 'double') }} as location_lat,
    {{ read_as('location_lng', 'double') }} as location_lng,

    {{ event_property('[Amplitude] Page URL') }} as page_url,
    {{ event_property('[Amplitude] Page Location') }} as page_location,
    {{ event_property('[Amplitude] Page Domain') }} as page_domain,
    {{ event_property('[Amplitude] Page Path') }} as page_path,
    {{ event_property('[Amplitude] Page Title') }} as page_title,
    {{ read_as('page_counter', 'bigint') }} as page_counter,
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

    {{ json_keys | join(',\n    ') }},

    nullif(concat_ws(
        ' '
        {% for column, type in types.items() -%}
        , case when {{ column }} is not null and {{ read_as(column, type) }} is null then '{{ column }}' end
        {% endfor %}
    ), '') as cast_errors
from shaped
