-- Days for which the events table does not have as many events as their manifest says, rejected lines aside. It
-- depends on the last models, because dbt builds nothing that comes after a failed test.
-- depends_on: {{ ref('devices') }}, {{ ref('sessions') }}, {{ ref('places') }}, {{ ref('page_views') }}, {{ ref('quality') }}
select
    manifests.export_date,
    manifests.events as in_manifest,
    count(loaded.export_date) as in_table,
    coalesce(any_value(rejected.lines), 0) as rejected_lines
from {{ ref('stg_manifests') }} as manifests
left join {{ ref('events') }} as loaded
    on loaded.export_date = manifests.export_date and loaded.export_try = manifests.export_try
left join (
    select export_date, count(*) as lines
    from {{ ref('stg_lines') }}
    where event is null
    group by export_date
) as rejected on rejected.export_date = manifests.export_date
group by manifests.export_date, manifests.events
having in_table + rejected_lines <> manifests.events
