select
    device_id || '/' || session_id as session_key,
    device_id,
    session_id,
    arg_max(user_id, event_time) as user_id,
    arg_max(amplitude_id, event_time) as amplitude_id,
    min(event_time) as started_at,
    max(event_time) as ended_at,
    date_diff('second', min(event_time), max(event_time)) as seconds,
    count(*) as events,
    count(*) filter (event_type = '{{ var("page_view_event") }}') as page_views,
    arg_min(page_path, event_time) as entry_page,
    arg_max(page_path, event_time) as exit_page,
    arg_min(referring_domain, event_time) as referring_domain,
    arg_min(platform, event_time) as platform,
    arg_min(os_name, event_time) as os_name,
    arg_min(country, event_time) as country
from {{ ref('events') }}
where session_id is not null and device_id is not null
group by device_id, session_id
