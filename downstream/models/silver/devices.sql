select
    device_id,
    min(event_time) as first_seen,
    max(event_time) as last_seen,
    count(*) as events,
    count(distinct session_id) as sessions,
    arg_max(user_id, event_time) as user_id,
    arg_max(platform, event_time) as platform,
    arg_max(os_name, event_time) as os_name,
    arg_max(os_version, event_time) as os_version,
    arg_max(device_family, event_time) as device_family,
    arg_max(device_type, event_time) as device_type,
    arg_max(device_brand, event_time) as device_brand,
    arg_max(device_manufacturer, event_time) as device_manufacturer,
    arg_max(device_model, event_time) as device_model,
    arg_max(device_carrier, event_time) as device_carrier,
    arg_max(language, event_time) as language,
    arg_max(version_name, event_time) as version_name
from {{ ref('events') }}
where device_id is not null
group by device_id
