-- Days of which the events table holds another number of events than their manifest says.
select
    manifests.export_date,
    manifests.events as in_manifest,
    count(loaded.export_date) as in_table
from {{ ref('stg_manifests') }} as manifests
left join {{ ref('events') }} as loaded
    on loaded.export_date = manifests.export_date and loaded.export_try = manifests.export_try
group by manifests.export_date, manifests.events
having count(loaded.export_date) <> manifests.events
