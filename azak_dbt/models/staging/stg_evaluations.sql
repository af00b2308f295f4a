{{ config(tags='after_forecasts') }}

-- The latest version is found by its absence of a later one, not by DISTINCT ON: the filters of a reader (exit_day)
-- then reach the index of the table instead of waiting behind a sort of all evaluations ever made.
select
    evaluations.prediction_id,
    evaluations.horizon_sessions,
    evaluations.version,
    evaluations.model_id,
    predictions.model_version,
    predictions.prompt_version,
    predictions.origin,
    predictions.kind,
    coalesce(predictions.article_id, predictions.slot) as subject,
    evaluations.stock_code,
    case
        when predictions.is_contaminated then 'contaminated'
        when not predictions.is_contaminated then 'clean'
        else 'unknown'
    end as contamination,
    evaluations.status,
    evaluations.censor_reason,
    evaluations.entry_day,
    evaluations.exit_day,
    evaluations.outcome,
    horizons.p_up,
    horizons.p_flat,
    horizons.p_down,
    predictions.confidence,
    evaluations.brier,
    evaluations.log_score,
    evaluations.is_direction_right,
    evaluations.target_achieved,
    evaluations.support_breached,
    evaluations.classic_score,
    evaluations.observed_at
from {{ source('ml', 'model_evaluations') }} as evaluations
inner join {{ source('ml', 'predictions') }} as predictions
    on evaluations.prediction_id = predictions.prediction_id
inner join {{ source('ml', 'prediction_horizons') }} as horizons
    on
        evaluations.prediction_id = horizons.prediction_id
        and evaluations.horizon_sessions = horizons.horizon_sessions
where
    not exists (
        select 1
        from {{ source('ml', 'model_evaluations') }} as later
        where
            later.prediction_id = evaluations.prediction_id
            and later.horizon_sessions = evaluations.horizon_sessions
            and later.version > evaluations.version
    )
