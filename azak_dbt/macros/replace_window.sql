{#-
    The incremental strategy of every mart: what the run answers for is deleted, what it found is inserted, in the
    one transaction that dbt holds.

    A run answers for the rows whose first window day (meta: window_days) lies in the window, so that rows which
    vanished upstream go too, and for every value of unique_key among the new rows. A model without window_days, or
    a run without a window, answers for the whole table. Running it again changes nothing.
-#}
{% macro get_incremental_replace_window_sql(arg_dict) %}
    {%- set target = arg_dict['target_relation'] -%}
    {%- set fresh = arg_dict['temp_relation'] -%}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    {%- set window_days = config.get('meta', {}).get('window_days', []) -%}
    {%- if not window_days or window() is none %}
        delete from {{ target }};
    {%- else %}
        {%- set key = arg_dict['unique_key'] -%}
        {%- set key = [key] if key is string else key %}
        delete from {{ target }} where {{ in_window(window_days[0]) }};
        delete from {{ target }}
        where ({{ key | join(', ') }}) in (select distinct {{ key | join(', ') }} from {{ fresh }});
    {%- endif %}
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ fresh }};
{% endmacro %}
