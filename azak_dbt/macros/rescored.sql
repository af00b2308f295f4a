{#-
    Which stored days of a mart of scores a run makes anew besides its window: conditions for its rows.

    A score that changes (a corrected price, a bar that came late) may move its exit to another day. So the days of every
    version of what was scored since the mart was last made count, and a day that lost its last forecast loses its row.
-#}

{#- The exit days of every version of the forecasts scored since `mart` was last made, as a subquery. -#}
{% macro rescored_days(mart) -%}
    (
        select versions.exit_day
        from {{ source('ml', 'model_evaluations') }} as rescored
        -- OFFSET 0 keeps it a probe of the primary key for each: the planner cannot know that they are few.
        cross join lateral (
            select one.exit_day
            from {{ source('ml', 'model_evaluations') }} as one
            where one.prediction_id = rescored.prediction_id and one.horizon_sessions = rescored.horizon_sessions
            offset 0
        ) as versions
        where rescored.observed_at > (select max(stored.observed_at) from {{ mart }} as stored)
    )
{%- endmacro %}

{% macro is_rescored_day(mart) -%}
    exit_day in {{ rescored_days(mart) }}
{%- endmacro %}

{#- From the first such day, or from the start of the window, to the end: for trends, which look back. All days, where
    the mart is made from nothing. -#}
{% macro follows_rescored_day(mart, day='exit_day') -%}
    {%- if not is_incremental() -%}
        true
    {%- else -%}
        {{ day }} >= (
            select
                {% if window() is not none -%}
                least(date '{{ window().start }}', min(changed.exit_day))
                {%- else -%}
                min(changed.exit_day)
                {%- endif %}
            from {{ rescored_days(mart) }} as changed
        )
    {%- endif -%}
{%- endmacro %}
