select
    export_date,
    uuid,
    event_time,
    user_id,
    device_id,
    session_id,
    page_counter,
    page_url,
    page_location,
    page_domain,
    page_path,
    page_title,
    referrer,
    referring_domain,
    initial_utm_source,
    initial_utm_medium,
    initial_utm_campaign,
    os_name as browser,
    device_type,
    country,
    city
from {{ ref('events') }}
where event_type = '{{ var("page_view_event") }}'
