{#-
    The history table of a source: written with it, and so no source (and no asset) of its own.
-#}
{% macro history_of(schema, table) -%}
    {{ return(source(schema, table).incorporate(path={'identifier': table ~ '_history'})) }}
{%- endmacro %}
