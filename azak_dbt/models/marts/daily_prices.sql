{{
    config(
        tags='before_forecasts',
        meta={'window_days': ['trade_date']},
        unique_key='trade_date',
        indexes=[{'columns': ['trade_date']}]
    )
}}

with

sessions as (
    select * from {{ ref('stg_trading_sessions') }}
),

-- A corrected close changes the return of the session after it too, where that is already here.
bars as (
    select *
    from {{ source('raw', 'daily_bars') }}
    where
        (
            {{ in_window('trade_date') }}
            {% if is_incremental() -%}
            or trade_date in (
                select stored.trade_date
                from {{ this }} as stored
                where {{ in_window('stored.trade_date', ahead=1, sessions=source('raw', 'trading_sessions')) }}
            )
            {%- endif %}
        )
),

compared as (
    select
        bars.*,
        previous_bars.close as previous_close,
        coalesce(factors.factor, 1) as adjustment_factor,
        case
            when not bars.is_halted and previous_bars.close > 0
                then bars.close::numeric / (previous_bars.close * coalesce(factors.factor, 1)::numeric) - 1
        end as change,
        -- The daily limit was widened from 15 to 30 % on 2015-06-15. Scores cut it to whole ticks:
        -- is_unexplained_jump in azak_assets/scoring/bars.py; tests/dbt/test_rules_agree.py runs both over the moves.
        case when bars.trade_date < date '2015-06-15' then 0.15 else 0.30 end as price_limit
    from bars
    inner join sessions on bars.trade_date = sessions.trade_date
    left join {{ source('raw', 'daily_bars') }} as previous_bars
        on
            bars.stock_code = previous_bars.stock_code
            and sessions.previous_trade_date = previous_bars.trade_date
    left join {{ source('raw', 'adjustment_factors') }} as factors
        on bars.stock_code = factors.stock_code and bars.trade_date = factors.ex_date
)

select
    compared.stock_code,
    compared.trade_date,
    compared.open,
    compared.high,
    compared.low,
    compared.close,
    compared.volume,
    compared.turnover_krw,
    compared.is_halted,
    compared.previous_close,
    compared.adjustment_factor,
    (compared.change * 100)::double precision as return_pct,
    coalesce(abs(compared.change) > compared.price_limit, false) as is_jump,
    versions.listed_shares,
    versions.listed_shares * compared.close as market_cap_krw,
    compared.known_at
from compared
left join {{ ref('stg_stock_versions') }} as versions
    on
        compared.stock_code = versions.stock_code
        and compared.known_at >= versions.valid_from
        and compared.known_at < versions.valid_to
