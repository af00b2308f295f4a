{{
    config(
        tags='before_forecasts',
        meta={'window_days': ['trading_day', 'tradable_session', 'exit_day']},
        unique_key=['article_id', 'stock_code', 'horizon_sessions'],
        indexes=[
            {'columns': ['stock_code', 'trading_day']},
            {'columns': ['trading_day']},
            {'columns': ['tradable_session']},
            {'columns': ['exit_day']},
        ]
    )
}}

-- Scores have the rule of entry and exit in Python: entry_of and resolve in azak_assets/scoring/horizons.py.
-- tests/dbt/test_rules_agree.py runs both over the same rows and lists every difference.

with

sessions as (
    select
        *,
        -- The market's bars of the session are here. A stock without one among them has not traded that day.
        exists(
            select 1
            from {{ ref('daily_prices') }} as recorded
            where recorded.trade_date = calendar.trade_date
        ) as is_recorded
    from {{ ref('stg_trading_sessions') }} as calendar
    -- Twenty sessions on either side hold every entry and exit that the window can touch.
    where {{ in_window('trade_date', back=20, ahead=21, sessions=source('raw', 'trading_sessions')) }}
),

last_recorded as (
    select max(trade_date) as trade_date from sessions where is_recorded
),

horizons as (
    select unnest(array[1, 2, 3, 5, 10, 20]) as horizon_sessions
),

-- Today's run fills the reactions to articles of the twenty sessions before it. Those of a session that ended the
-- evening before, or of an article that was edited weeks later, are found by the session they became tradable in.
matches as (
    select
        article_id,
        stock_code,
        trading_day,
        tradable_session,
        known_at
    from {{ ref('matches') }}
    where
        {{ in_window('trading_day') }}
        or {{ in_window('tradable_session', back=20, sessions=source('raw', 'trading_sessions')) }}
),

entries as (
    select
        matches.*,
        sessions.session_number as entry_number,
        sessions.is_recorded as is_entry_recorded,
        matches.known_at < sessions.open_at as is_entry_at_open,
        case when matches.known_at < sessions.open_at then sessions.open_at else sessions.close_at end as entry_at
    from matches
    inner join sessions on matches.tradable_session = sessions.trade_date
),

-- The first session that closes after an entry at the open is that same session; after an entry at the close, the next.
schedules as (
    select
        entries.*,
        horizons.horizon_sessions,
        exits.trade_date as exit_day,
        exits.close_at as exit_at,
        coalesce(exits.is_recorded, false) as is_exit_recorded
    from entries
    cross join horizons
    left join sessions as exits
        on exits.session_number
            = entries.entry_number + horizons.horizon_sessions - case when entries.is_entry_at_open then 1 else 0 end
),

-- Of the older articles only the horizons whose exit the window may have changed: it begins in it or runs through it.
due as (
    select schedules.*
    from schedules
    cross join last_recorded
    where
        {{ in_window('schedules.trading_day') }}
        or {{ in_window('schedules.tradable_session') }}
        {% if window() is not none -%}
        or schedules.exit_day between date '{{ window().start }}' and last_recorded.trade_date
        {%- endif %}
),

-- Jumps are few: found once for the days in question, they spare a walk over the bars of every row.
jump_days as materialized (
    select
        stock_code,
        trade_date
    from {{ ref('daily_prices') }}
    where is_jump and trade_date > (select min(due.tradable_session) from due)
),

jumps as (
    select distinct
        due.stock_code,
        due.tradable_session,
        due.exit_day
    from due
    inner join jump_days
        on
            due.stock_code = jump_days.stock_code
            and due.tradable_session < jump_days.trade_date
            and due.exit_day >= jump_days.trade_date
),

factor_days as materialized (
    select
        stock_code,
        trade_date,
        adjustment_factor
    from {{ ref('daily_prices') }}
    where adjustment_factor <> 1 and trade_date > (select min(due.tradable_session) from due)
),

-- The product, which SQL has no aggregate for; numeric, so that one factor comes out as it went in.
factors as (
    select
        due.article_id,
        due.stock_code,
        due.horizon_sessions,
        round(exp(sum(ln(factor_days.adjustment_factor::numeric))), 12) as factor
    from due
    inner join factor_days
        on
            due.stock_code = factor_days.stock_code
            and due.tradable_session < factor_days.trade_date
            and due.exit_day >= factor_days.trade_date
    group by due.article_id, due.stock_code, due.horizon_sessions
),

index_bars as (
    select
        case index_code when '0001' then 'KOSPI' when '1001' then 'KOSDAQ' end as market,
        trade_date,
        open,
        close
    from {{ source('raw', 'index_bars') }}
    where index_code in ('0001', '1001')
),

priced as (
    select
        due.*,
        case when due.is_entry_at_open then entry_bars.open else entry_bars.close end as base_price,
        exit_bars.close as price,
        coalesce(factors.factor, 1) as adjustment_factor,
        case when due.is_entry_at_open then entry_index.open else entry_index.close end as base_index,
        exit_index.close as exit_index,
        case
            when not due.is_entry_recorded then null
            when entry_bars.stock_code is null
                then case when stocks.delisted_on <= due.tradable_session then 'delisted' else 'no_entry_bar' end
            when entry_bars.is_halted then 'halted_entry'
            when not due.is_exit_recorded then null
            when exit_bars.stock_code is null
                then case when stocks.delisted_on <= due.exit_day then 'delisted' else 'no_exit_bar' end
            when exit_bars.is_halted then 'halted_exit'
            when jumps.stock_code is not null then 'unexplained_jump'
        end as censor_reason
    from due
    left join {{ ref('daily_prices') }} as entry_bars
        on due.stock_code = entry_bars.stock_code and due.tradable_session = entry_bars.trade_date
    left join {{ ref('daily_prices') }} as exit_bars
        on due.stock_code = exit_bars.stock_code and due.exit_day = exit_bars.trade_date
    left join jumps
        on
            due.stock_code = jumps.stock_code
            and due.tradable_session = jumps.tradable_session
            and due.exit_day = jumps.exit_day
    left join factors
        on
            due.article_id = factors.article_id
            and due.stock_code = factors.stock_code
            and due.horizon_sessions = factors.horizon_sessions
    left join {{ source('raw', 'stocks') }} as stocks
        on due.stock_code = stocks.stock_code
    left join index_bars as entry_index
        on stocks.market = entry_index.market and due.tradable_session = entry_index.trade_date
    left join index_bars as exit_index
        on stocks.market = exit_index.market and due.exit_day = exit_index.trade_date
),

decided as (
    select
        *,
        case
            when censor_reason is not null then 'censored'
            when is_entry_recorded and is_exit_recorded then 'matured'
            else 'pending'
        end as status
    from priced
),

returns as (
    select
        *,
        case when status = 'matured' then (price / (base_price * adjustment_factor) - 1) * 100 end as raw_return,
        case
            when status = 'matured' and base_index > 0 then (exit_index::numeric / base_index::numeric - 1) * 100
        end as index_return
    from decided
)

select
    article_id,
    stock_code,
    horizon_sessions::smallint as horizon_sessions,
    trading_day,
    tradable_session,
    known_at,
    case when is_entry_at_open then 'open' else 'close' end as entry,
    entry_at,
    exit_day,
    exit_at,
    base_price,
    case when status = 'matured' then price end as price,
    case when status = 'matured' then adjustment_factor::double precision end as adjustment_factor,
    raw_return::double precision as return_pct,
    index_return::double precision as index_return_pct,
    (raw_return - index_return)::double precision as abnormal_return_pct,
    status,
    censor_reason
from returns
