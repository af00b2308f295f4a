{#- Models land exactly in the schema they name (staging, marts): an asset key is [schema, table] everywhere. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
