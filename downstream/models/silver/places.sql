select
    concat_ws(' / ', country, region, city, dma) as place_key,
    country,
    region,
    city,
    dma,
    count(*) as events,
    count(distinct device_id) as devices,
    min(event_time) as first_seen,
    max(event_time) as last_seen
from {{ ref('events') }}
where country is not null
group by country, region, city, dma
