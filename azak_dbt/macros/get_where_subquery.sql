{#-
    Replaces dbt's own: a test on a model with window_days looks only at the rows the run could have changed, so that
    its cost follows the window and not the years behind it. A `where` on the test narrows it further. Without a
    window a test sees the whole table.
-#}
{% macro get_where_subquery(relation) -%}
    {%- set conditions = [] -%}
    {%- set where = config.get('where', '') -%}
    {%- if where -%}
        {%- do conditions.append('(' ~ where ~ ')') -%}
    {%- endif -%}
    {%- if execute and model.get('attached_node') in graph.nodes -%}
        {%- set attached = graph.nodes[model.attached_node] -%}
        {%- set bound = changed_in_window(attached.config.get('meta', {}).get('window_days', [])) -%}
        {%- if bound and attached.name == relation.identifier -%}
            {%- do conditions.append(bound) -%}
        {%- endif -%}
    {%- endif -%}
    {%- if conditions -%}
        {{ return('(select * from ' ~ relation ~ ' where ' ~ conditions | join(' and ') ~ ') as dbt_subquery') }}
    {%- else -%}
        {{ return(relation) }}
    {%- endif -%}
{%- endmacro %}
