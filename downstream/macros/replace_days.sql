{# Incremental strategy: rows of a day that come from another try than the manifest's are deleted, and the new rows are
   inserted, in one transaction. This also removes a day without a manifest (it has expired) and one whose new export is
   empty: a plain delete+insert, which deletes only the days that have new rows, would keep both. If bad lines fail a
   day, the table of events keeps what it holds of the day. #}
{% macro get_incremental_replace_days_sql(arguments) %}
    {% set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) %}

    delete from {{ arguments['target_relation'] }} as loaded
    where not exists (
        select 1 from {{ ref('stg_manifests') }} as manifests
        where manifests.export_date = loaded.export_date and manifests.export_try = loaded.export_try
    )
    {% if this.identifier == 'events' and bad_lines_fail() %}and not {{ has_bad_lines('loaded.export_date') }}{% endif %};

    insert into {{ arguments['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arguments['temp_relation'] }};
{% endmacro %}
