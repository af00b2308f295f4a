{#-
    The window of a run: trading days AZAK_WINDOW_START to AZAK_WINDOW_END, both included; without them, all days.

    The two variables are read only while dbt executes, never while it parses. What parsing reads becomes part of
    the parse cache, and a new day would then parse its readers anew (--vars would even parse the whole project).
-#}

{#- {start, end} as ISO dates, or none. Refuses half a window, a malformed date and an end before its start. -#}
{% macro window() %}
    {% if not execute %}
        {{ return(none) }}
    {% endif %}
    {% set start = env_var('AZAK_WINDOW_START', '') %}
    {% set end = env_var('AZAK_WINDOW_END', '') %}
    {% if not start and not end %}
        {{ return(none) }}
    {% endif %}
    {% for name, value in [('AZAK_WINDOW_START', start), ('AZAK_WINDOW_END', end)] %}
        {% if not modules.re.match('^\d{4}-\d{2}-\d{2}$', value) %}
            {% do exceptions.raise_compiler_error(
                name ~ " is '" ~ value ~ "': set both ends of the window to dates like 2026-11-20, or neither"
            ) %}
        {% endif %}
    {% endfor %}
    {% if start > end %}
        {% do exceptions.raise_compiler_error(
            'AZAK_WINDOW_START ' ~ start ~ ' is after AZAK_WINDOW_END ' ~ end ~ ': swap them'
        ) %}
    {% endif %}
    {{ return({'start': start, 'end': end}) }}
{% endmacro %}

{#-
    A condition that is true for the days of the window, widened by `back` sessions before it and `ahead` sessions
    after it. Sessions are counted in `sessions`, a relation with one row a session; the widening needs it.
-#}
{% macro in_window(day, back=0, ahead=0, sessions=none) %}
    {%- set window = window() -%}
    {%- if window is none -%}
        true
    {%- else -%}
        {{ day }} between {{ shift_sessions(window.start, -back, sessions) }}
        and {{ shift_sessions(window.end, ahead, sessions) }}
    {%- endif -%}
{% endmacro %}

{#- The day `count` sessions after (before, if negative) an ISO date; the last one there is if the calendar ends. -#}
{% macro shift_sessions(day, count, sessions) %}
    {%- set literal = "date '" ~ day ~ "'" -%}
    {%- if count == 0 -%}
        {{ literal }}
    {%- else -%}
        (
            select coalesce({{ 'max' if count > 0 else 'min' }}(shifted.trade_date), {{ literal }})
            from (
                select calendar.trade_date
                from {{ sessions }} as calendar
                where calendar.trade_date {{ '>' if count > 0 else '<' }} {{ literal }}
                order by calendar.trade_date {{ 'asc' if count > 0 else 'desc' }}
                limit {{ count | abs }}
            ) as shifted
        )
    {%- endif -%}
{% endmacro %}

{#- The days on which a run may change rows of a model (its meta: window_days), as one condition; or none. -#}
{% macro changed_in_window(window_days) %}
    {% if not window_days or window() is none %}
        {{ return(none) }}
    {% endif %}
    {% set conditions = [] %}
    {% for day in window_days %}
        {% do conditions.append(in_window(day)) %}
    {% endfor %}
    {{ return('(' ~ conditions | join(' or ') ~ ')') }}
{% endmacro %}
