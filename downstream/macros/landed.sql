{# The folder or address that holds what the container holds; by default the folder that the mirror's example fills.
   Names in a manifest are whole blob names, the prefix included, so this is all that comes before them. #}
{% macro landed_root() %}{{ env_var('LANDED', '../landed').rstrip('/') }}/{% endmacro %}


{# A file's path as a text in SQL that matches this file alone: DuckDB takes every path for a pattern. #}
{% macro one_file(path) -%}
    '{{ path | replace('[', '[[]') | replace('*', '[*]') | replace('?', '[?]') | replace("'", "''") }}'
{%- endmacro %}


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


{# The files to read in this run: those of new and of changed days, as rows of blob and bytes. DuckDB takes a list of
   files only as a constant, so a query gets the list before the statement is written. If statements are only shown, the
   list is empty. #}
{% macro files_to_load() %}
    {% if not execute or flags.WHICH in ('compile', 'generate') %}{{ return([]) }}{% endif %}
    {% set wanted %}
        select blob, bytes from {{ ref('stg_files') }} as files where {{ not_loaded_yet('files') }} order by blob
    {% endset %}
    {{ return(run_query(wanted).rows) }}
{% endmacro %}


{# Files by their compression, which is known from their names. #}
{% macro group_by_compression(files) %}
    {% set groups = {'gzip': [], 'none': []} %}
    {% for file in files %}{% do groups['gzip' if file.blob.endswith('.gz') else 'none'].append(file) %}{% endfor %}
    {{ return(groups) }}
{% endmacro %}


{# The bytes that a line may have. No line is longer than its file, and DuckDB reserves twice as much for each thread:
   so no more than the largest file asks for, and at most `max_line_mb`. #}
{% macro line_limit(files) -%}
    {{ [[16 * 1024 * 1024, files | map(attribute='bytes') | max | int + 1] | max, var('max_line_mb') * 1024 * 1024] | min }}
{%- endmacro %}
