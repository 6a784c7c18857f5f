{# The folder or address that holds what the container holds. There is no default: a wrong guess would find nothing.
   Names in a manifest are whole blob names, the prefix included, so this is all that comes before them. #}
{% macro landed_root() %}{{ env_var('LANDED').rstrip('/') }}/{% endmacro %}


{# The days of `stg_manifests` that a table built by `replace_days` does not hold yet, as a condition on `alias`. #}
{% macro not_loaded_yet(alias) -%}
    {%- if is_incremental() -%}
    not exists (
        select 1 from {{ this }} as loaded
        where loaded.export_date = {{ alias }}.export_date and loaded.export_try = {{ alias }}.export_try
    )
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}


{# The files to read in this run: those of new and of changed days, by name. DuckDB takes a list of files only as a
   constant, so the list is asked for before the statement is written. Where statements are only shown, it is empty. #}
{% macro files_to_load() %}
    {% if not execute or flags.WHICH in ('compile', 'generate') %}{{ return([]) }}{% endif %}
    {% set wanted %}
        select blob from {{ ref('stg_files') }} as files where {{ not_loaded_yet('files') }} order by blob
    {% endset %}
    {{ return(run_query(wanted).columns[0].values()) }}
{% endmacro %}
