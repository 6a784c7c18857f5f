select export_date, 'rejected line' as problem, null::varchar as column_name, count(*) as events
from {{ ref('stg_lines') }}
where event is null
group by export_date

union all

select export_date, 'wrong type', column_name, count(*)
from (
    select export_date, unnest(string_split(cast_errors, ' ')) as column_name
    from {{ ref('events') }}
)
group by export_date, column_name

{% for column in ['uuid', 'event_type', 'event_time'] %}
union all

select export_date, 'no value', '{{ column }}', count(*)
from {{ ref('events') }}
where {{ column }} is null and not contains(string_split(coalesce(cast_errors, ''), ' '), '{{ column }}')
group by export_date
{% endfor %}
