{{
    config(
        tags='after_forecasts',
        meta={'window_days': ['exit_day'], 'answers_for': 'follows_rescored_day'},
        unique_key='exit_day',
        indexes=[
            {'columns': ['exit_day']},
            {'columns': ['model_id', 'horizon_sessions', 'exit_day']},
            {'columns': ['observed_at']},
        ]
    )
}}

{%- set series = 'model_id, model_version, prompt_version, origin, contamination, kind, horizon_sessions' %}

with

sessions as (
    select
        trade_date,
        session_number
    from {{ ref('stg_trading_sessions') }}
),

-- A day changes its own trend and those of the 39 sessions after it. Rebuilding from the first changed day to the end
-- costs one day when the newest changes, and is right for any other.
reach as (
    select
        min(session_number) as first_number,
        min(session_number) - 39 as read_from
    from sessions
    where {{ follows_rescored_day(this, 'trade_date') }}
),

days as (
    select
        performance.*,
        sessions.session_number,
        performance.mean_brier::numeric * performance.matured_count as brier_sum,
        performance.mean_log_score::numeric * performance.matured_count as log_score_sum,
        performance.direction_accuracy::numeric * performance.called_count as right_sum,
        performance.base_rate_paired_brier::numeric * performance.base_rate_pairs as paired_brier_sum,
        performance.base_rate_brier::numeric * performance.base_rate_pairs as base_rate_brier_sum,
        performance.mean_classic_score::numeric * performance.classic_count as classic_sum
    from {{ ref('daily_performance') }} as performance
    inner join sessions on performance.exit_day = sessions.trade_date
    where
        performance.exit_day >= (
            select min(readable.trade_date)
            from sessions as readable
            cross join reach
            where readable.session_number >= reach.read_from
        )
),

-- Twenty sessions of the calendar, not twenty rows: a day without scores makes the window thinner, never longer.
rolled as (
    select
        days.*,
        {%- for suffix, frame in [('20', 'recent'), ('previous_20', 'earlier')] %}
        count(*) filter (where matured_count > 0) over {{ frame }} as sessions_{{ suffix }},
        sum(matured_count) over {{ frame }} as matured_{{ suffix }},
        sum(right_sum) over {{ frame }}
        / nullif(sum(called_count) over {{ frame }}, 0) as direction_accuracy_{{ suffix }},
        sum(brier_sum) over {{ frame }}
        / nullif(sum(matured_count) over {{ frame }}, 0) as brier_{{ suffix }},
        sum(log_score_sum) over {{ frame }}
        / nullif(sum(matured_count) over {{ frame }}, 0) as log_score_{{ suffix }},
        1 - sum(paired_brier_sum) over {{ frame }}
        / nullif(sum(base_rate_brier_sum) over {{ frame }}, 0) as base_rate_skill_{{ suffix }},
        sum(classic_sum) over {{ frame }}
        / nullif(sum(classic_count) over {{ frame }}, 0) as classic_score_{{ suffix }},
        {%- endfor %}
        max(observed_at) over (
            partition by {{ series }} order by session_number range between 39 preceding and current row
        ) as newest_observed_at
    from days
    window
        recent as (
            partition by {{ series }} order by session_number range between 19 preceding and current row
        ),
        earlier as (
            partition by {{ series }} order by session_number range between 39 preceding and 20 preceding
        )
),

judged as (
    select
        *,
        brier_20 - brier_previous_20 as brier_change,
        base_rate_skill_20 - base_rate_skill_previous_20 as base_rate_skill_change,
        direction_accuracy_20 - direction_accuracy_previous_20 as direction_accuracy_change,
        sessions_20 >= 10 and sessions_previous_20 >= 10
        and matured_20 >= 100 and matured_previous_20 >= 100 as has_evidence
    from rolled
)

-- is_regression: the Brier score of the last 20 sessions is worse (higher) than in the 20 before by more than 0.02,
-- 3 % of the 0.667 that knowing nothing costs, and the skill against the base rate fell meanwhile: a market that grew
-- harder for everyone is no regression. NULL with fewer than 10 scored sessions or 100 matured forecasts on a side.
select
    exit_day,
    model_id,
    model_version,
    prompt_version,
    origin,
    contamination,
    kind,
    horizon_sessions,
    matured_count,
    sessions_20::integer as sessions_20,
    matured_20::integer as matured_20,
    direction_accuracy_20::double precision as direction_accuracy_20,
    brier_20::double precision as brier_20,
    log_score_20::double precision as log_score_20,
    base_rate_skill_20::double precision as base_rate_skill_20,
    classic_score_20::double precision as classic_score_20,
    coalesce(sessions_previous_20, 0)::integer as sessions_previous_20,
    coalesce(matured_previous_20, 0)::integer as matured_previous_20,
    direction_accuracy_previous_20::double precision as direction_accuracy_previous_20,
    brier_previous_20::double precision as brier_previous_20,
    log_score_previous_20::double precision as log_score_previous_20,
    base_rate_skill_previous_20::double precision as base_rate_skill_previous_20,
    classic_score_previous_20::double precision as classic_score_previous_20,
    direction_accuracy_change::double precision as direction_accuracy_change,
    brier_change::double precision as brier_change,
    base_rate_skill_change::double precision as base_rate_skill_change,
    case
        when has_evidence then brier_change > 0.02 and coalesce(base_rate_skill_change < 0, true)
    end as is_regression,
    newest_observed_at as observed_at
from judged
where session_number >= (select reach.first_number from reach)
