{# Whether a day with lines that are not events fails as a whole, instead of loading without them. #}
{% macro bad_lines_fail() %}
    {% if var('bad_lines') not in ('reject', 'fail') %}
        {{ exceptions.raise_compiler_error("The variable bad_lines must be reject or fail, not " ~ var('bad_lines')) }}
    {% endif %}
    {{ return(var('bad_lines') == 'fail') }}
{% endmacro %}


{# The days that fail, as a condition on a column of days. #}
{% macro has_bad_lines(day) -%}
    {{ day }} in (select export_date from {{ ref('stg_lines') }} where event is null)
{%- endmacro %}


{# Names the lines that are not events, after `rejected_events` is built: the day, the file, the line and the reason. #}
{% macro name_bad_lines() %}
    {% if execute %}
        {% set rejected %}
            select export_date || ': ' || blob || ', line ' || line_number || ': ' || reason as message
            from {{ this }} order by export_date desc, blob, line_number limit 21
        {% endset %}
        {% for message in run_query(rejected).columns[0].values() %}
            {% do log('Not an event, ' ~ message if loop.index < 21 else 'More of them are in rejected_events.', info=true) %}
        {% endfor %}
    {% endif %}
{% endmacro %}


{# Names the variable that helps if a line was too long for DuckDB, which names only its own option. #}
{% macro explain_long_lines(results) %}
    {% for result in results if 'maximum_object_size' in (result.message or '') %}
        {% do log("A line is longer than " ~ var('max_line_mb') ~ " MiB. Run this again with --vars 'max_line_mb: "
                  ~ 2 * var('max_line_mb') ~ "', or a larger number.", info=true) %}
    {% endfor %}
{% endmacro %}
