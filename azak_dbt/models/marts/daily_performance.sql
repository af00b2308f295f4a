{{
    config(
        tags='after_forecasts',
        meta={'window_days': ['exit_day'], 'answers_for': 'is_rescored_day'},
        unique_key='exit_day',
        indexes=[
            {'columns': ['exit_day']},
            {'columns': ['model_id', 'horizon_sessions', 'exit_day']},
            {'columns': ['observed_at']},
        ]
    )
}}

{%- set bins = [('low', 0, 0.5), ('middle', 0.5, 0.7), ('high', 0.7, 1.1)] %}

with

-- The window, and any other day that was scored since the last run: a later run matures what an earlier one missed,
-- and a corrected entry price changes exits up to twenty sessions after it, or moves them. What is censored before its
-- day (a halt at the entry) waits for the day.
scored_days as (
    select exit_day
    from {{ source('ml', 'model_evaluations') }}
    {% if is_incremental() -%}
    where {{ in_window('exit_day') }}
    union
    select rescored.exit_day
    from {{ rescored_days(this) }} as rescored
    {%- endif %}
),

days as (
    select exit_day
    from scored_days
    where exit_day <= (select max(bars.trade_date) from {{ source('raw', 'daily_bars') }} as bars)
),

-- Day by day, each through the index on exit_day: the planner cannot know that the days are few, and would join all
-- evaluations ever made before it leaves out those of other days. OFFSET 0 keeps it from undoing this.
evaluations as (
    select
        scored.*,
        greatest(scored.p_up, scored.p_flat, scored.p_down) as top_probability,
        scored.status = 'matured' as is_matured
    from (select distinct days.exit_day from days) as chosen
    cross join lateral (
        select *
        from {{ ref('stg_evaluations') }} as of_day
        where of_day.exit_day = chosen.exit_day and of_day.status in ('matured', 'censored')
        limit all offset 0
    ) as scored
),

-- Means are taken in numeric: a sum of doubles depends on the order of its rows, and a second run must not change one.
baselines as (
    select
        kind,
        subject,
        stock_code,
        origin,
        horizon_sessions,
        exit_day,
        avg(brier::numeric) filter (where model_id = 'base_rate') as base_rate_brier,
        avg(brier::numeric) filter (where model_id = 'persistence') as persistence_brier
    from evaluations
    where is_matured and model_id in ('base_rate', 'persistence')
    group by kind, subject, stock_code, origin, horizon_sessions, exit_day
),

paired as (
    select
        evaluations.*,
        baselines.base_rate_brier,
        baselines.persistence_brier
    from evaluations
    left join baselines
        on
            evaluations.is_matured
            and evaluations.kind = baselines.kind
            and evaluations.subject = baselines.subject
            and evaluations.stock_code = baselines.stock_code
            and evaluations.origin = baselines.origin
            and evaluations.horizon_sessions = baselines.horizon_sessions
            and evaluations.exit_day = baselines.exit_day
),

performance as (
    select
        exit_day,
        model_id,
        model_version,
        prompt_version,
        origin,
        contamination,
        kind,
        horizon_sessions,
        count(*) filter (where is_matured) as matured_count,
        count(*) filter (where not is_matured) as censored_count,
        count(is_direction_right) filter (where is_matured) as called_count,
        avg(is_direction_right::integer) filter (where is_matured) as direction_accuracy,
        avg(confidence::numeric) filter (where is_matured) as mean_confidence,
        avg(brier::numeric) filter (where is_matured) as mean_brier,
        avg(log_score::numeric) filter (where is_matured) as mean_log_score,
        count(base_rate_brier) as base_rate_pairs,
        avg(brier::numeric) filter (where base_rate_brier is not null) as base_rate_paired_brier,
        avg(base_rate_brier) as base_rate_brier,
        count(persistence_brier) as persistence_pairs,
        avg(brier::numeric) filter (where persistence_brier is not null) as persistence_paired_brier,
        avg(persistence_brier) as persistence_brier,
        avg(p_up::numeric) filter (where is_matured) as mean_p_up,
        avg((outcome = 'up')::integer) filter (where is_matured) as up_rate,
        avg(p_flat::numeric) filter (where is_matured) as mean_p_flat,
        avg((outcome = 'flat')::integer) filter (where is_matured) as flat_rate,
        avg(p_down::numeric) filter (where is_matured) as mean_p_down,
        avg((outcome = 'down')::integer) filter (where is_matured) as down_rate,
        {%- for bin, low, high in bins %}
        count(is_direction_right) filter (
            where is_matured and top_probability >= {{ low }} and top_probability < {{ high }}
        ) as {{ bin }}_bin_count,
        avg(top_probability::numeric) filter (
            where
            is_matured
            and is_direction_right is not null
            and top_probability >= {{ low }} and top_probability < {{ high }}
        ) as {{ bin }}_bin_probability,
        avg(is_direction_right::integer) filter (
            where is_matured and top_probability >= {{ low }} and top_probability < {{ high }}
        ) as {{ bin }}_bin_accuracy,
        {%- endfor %}
        count(target_achieved) filter (where is_matured) as target_count,
        avg(target_achieved::integer) filter (where is_matured) as target_achieved_rate,
        count(support_breached) filter (where is_matured) as support_count,
        avg(support_breached::integer) filter (where is_matured) as support_breach_rate,
        count(classic_score) filter (where is_matured) as classic_count,
        avg(classic_score::numeric) filter (where is_matured) as mean_classic_score,
        max(observed_at) as observed_at
    from paired
    group by exit_day, model_id, model_version, prompt_version, origin, contamination, kind, horizon_sessions
)

select
    exit_day,
    model_id,
    model_version,
    prompt_version,
    origin,
    contamination,
    kind,
    horizon_sessions,
    matured_count::integer as matured_count,
    censored_count::integer as censored_count,
    called_count::integer as called_count,
    direction_accuracy::double precision as direction_accuracy,
    mean_confidence::double precision as mean_confidence,
    mean_brier::double precision as mean_brier,
    mean_log_score::double precision as mean_log_score,
    base_rate_pairs::integer as base_rate_pairs,
    base_rate_paired_brier::double precision as base_rate_paired_brier,
    base_rate_brier::double precision as base_rate_brier,
    (1 - base_rate_paired_brier / nullif(base_rate_brier, 0))::double precision as base_rate_skill,
    persistence_pairs::integer as persistence_pairs,
    persistence_paired_brier::double precision as persistence_paired_brier,
    persistence_brier::double precision as persistence_brier,
    (1 - persistence_paired_brier / nullif(persistence_brier, 0))::double precision as persistence_skill,
    mean_p_up::double precision as mean_p_up,
    up_rate::double precision as up_rate,
    mean_p_flat::double precision as mean_p_flat,
    flat_rate::double precision as flat_rate,
    mean_p_down::double precision as mean_p_down,
    down_rate::double precision as down_rate,
    {%- for bin, _, _ in bins %}
    {{ bin }}_bin_count::integer as {{ bin }}_bin_count,
    {{ bin }}_bin_probability::double precision as {{ bin }}_bin_probability,
    {{ bin }}_bin_accuracy::double precision as {{ bin }}_bin_accuracy,
    {%- endfor %}
    target_count::integer as target_count,
    target_achieved_rate::double precision as target_achieved_rate,
    support_count::integer as support_count,
    support_breach_rate::double precision as support_breach_rate,
    classic_count::integer as classic_count,
    mean_classic_score::double precision as mean_classic_score,
    observed_at
from performance
