{# Schemas are called `staging` and `silver`, not `main_staging` and `main_silver`. #}
{% macro generate_schema_name(custom_schema_name, node) %}{{ custom_schema_name or target.schema }}{% endmacro %}
