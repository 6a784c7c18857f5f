{# One property of an event, as text. Names are free text with spaces, brackets and dots, hence the quotes. #}
{% macro event_property(name) %}event_properties ->> '$."{{ name }}"'{% endmacro %}


{# One property of a user, as text. The browser library writes EMPTY if there was none. #}
{% macro user_property(name) %}nullif(user_properties ->> '$."{{ name }}"', 'EMPTY'){% endmacro %}


{# A text column as another type; null if the text does not fit. A whole number may be written as `2.0`, and a time
   has to be finite. #}
{% macro read_as(column, type) -%}
    {%- if type == 'timestamp' -%}
    case when isfinite(try_cast({{ column }} as timestamp)) then try_cast({{ column }} as timestamp) end
    {%- else -%}
    try_cast({{ column }} as {{ type }})
    {%- endif -%}
{%- endmacro %}


{# A number for a type of events, the same in every run: the Export API gives none. #}
{% macro event_type_id(event_type) %}(md5_number_lower({{ event_type }}) >> 1)::bigint{% endmacro %}
