{#-
    The incremental strategy of every mart: what the run answers for becomes what it found, in the one transaction that
    dbt holds. Equal rows are left alone; what was changed goes to ops.mart_changes, from where the materialization's
    metadata takes it.

    A run answers for the rows whose first window day (meta: window_days) lies in the window, so that rows which
    vanished upstream go too, for every value of unique_key among the new rows, and for the rows that the macro named in
    meta: answers_for tells. A model without window_days, or a run without a window, answers for the whole table.
    Running it again changes nothing.
-#}
{% macro get_incremental_replace_window_sql(arg_dict) %}
    {%- set target = arg_dict['target_relation'] -%}
    {%- set fresh = arg_dict['temp_relation'] -%}
    {%- set names = arg_dict['dest_columns'] | map(attribute='quoted') | list -%}
    {%- set keys = (model.constraints | selectattr('type', 'equalto', 'primary_key') | first).columns -%}
    {%- set window_days = config.get('meta', {}).get('window_days', []) -%}
    {#- Each part finds its rows through an index of its own: one condition with OR would scan every row there ever was. -#}
    {%- set parts = ['select ctid as address, * from ' ~ target] -%}
    {%- if window_days and window() is not none -%}
        {%- set unit = arg_dict['unique_key'] -%}
        {%- set unit = [unit] if unit is string else unit -%}
        {%- set parts = [
            parts[0] ~ ' where ' ~ in_window(window_days[0]),
            'select stored.ctid as address, stored.* from (select distinct ' ~ unit | join(', ') ~ ' from ' ~ fresh
            ~ ') as unit inner join ' ~ target ~ ' as stored using (' ~ unit | join(', ') ~ ')',
        ] -%}
        {%- if 'answers_for' in config.get('meta', {}) -%}
            {%- do parts.append(
                'select ctid as address, * from ' ~ target ~ ' where ' ~ context[config.get('meta')['answers_for']](target)
            ) -%}
        {%- endif -%}
    {%- endif -%}
    {%- set answered = target.identifier ~ '_answered' -%}
    {%- set same_key = [] -%}
    {%- for key in keys -%}
        {%- do same_key.append('found.' ~ key ~ ' = stored.' ~ key) -%}
    {%- endfor -%}
    {%- set found_row = 'found.' ~ names | join(', found.') -%}
    {%- set stored_row = 'stored.' ~ names | join(', stored.') -%}
    {%- set is_equal -%}
        {{ same_key | join(' and ') }} and ({{ found_row }}) is not distinct from ({{ stored_row }})
    {%- endset %}
    create temporary table {{ answered }} on commit drop as
    {{ parts | join('\n    union\n    ') }};

    insert into ops.mart_changes (invocation_id, mart, inserted, changed, unchanged, retired, made_at)
    select
        '{{ invocation_id }}',
        '{{ target.schema }}.{{ target.identifier }}',
        count(*) filter (where stored.{{ keys[0] }} is null),
        count(*) filter (where {{ same_key | join(' and ') }} and ({{ found_row }}) is distinct from ({{ stored_row }})),
        count(*) filter (where {{ is_equal }}),
        count(*) filter (where found.{{ keys[0] }} is null),
        clock_timestamp()
    from {{ fresh }} as found
    full join {{ answered }} as stored on {{ same_key | join(' and ') }};

    delete from {{ target }}
    where ctid = any(array(
        select stored.address
        from {{ answered }} as stored
        where not exists (select from {{ fresh }} as found where {{ is_equal }})
    ));

    insert into {{ target }} ({{ names | join(', ') }})
    select {{ found_row }}
    from {{ fresh }} as found
    where not exists (select from {{ answered }} as stored where {{ is_equal }});
{% endmacro %}
