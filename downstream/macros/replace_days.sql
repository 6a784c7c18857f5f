{# Incremental strategy: what the table holds of a day under another try than the manifest's goes, and the new rows come,
   in one transaction. So goes a day without a manifest (it has expired), and one whose new export is empty: a plain
   delete+insert, which deletes only the days that have new rows, would keep both. #}
{% macro get_incremental_replace_days_sql(arguments) %}
    {% set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) %}

    delete from {{ arguments['target_relation'] }} as loaded
    where not exists (
        select 1 from {{ ref('stg_manifests') }} as manifests
        where manifests.export_date = loaded.export_date and manifests.export_try = loaded.export_try
    );

    insert into {{ arguments['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arguments['temp_relation'] }};
{% endmacro %}
