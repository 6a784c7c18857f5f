select export_date, export_try, export_hour, blob, event
from {{ ref('stg_lines') }}
where event is not null
{% if bad_lines_fail() %}and not {{ has_bad_lines('export_date') }}{% endif %}
