{# One property of an event, as text. Names are free text with spaces, brackets and dots, hence the quotes. #}
{% macro event_property(name) %}event_properties ->> '$."{{ name }}"'{% endmacro %}


{# One property of a user, as text. The browser library writes EMPTY for what there was none of. #}
{% macro user_property(name) %}nullif(user_properties ->> '$."{{ name }}"', 'EMPTY'){% endmacro %}
