{{
    config(
        tags='before_forecasts',
        unique_key='stock_code',
        indexes=[{'columns': ['name']}]
    )
}}

select
    stocks.stock_code,
    stocks.isin,
    stocks.name,
    stocks.market,
    stocks.security_kind,
    stocks.sector,
    stocks.tier,
    stocks.aliases,
    stocks.is_active,
    stocks.listed_on,
    stocks.delisted_on,
    stocks.listed_shares,
    stocks.market_cap_krw,
    last_prices.trade_date as last_trade_date,
    last_prices.close as last_close,
    last_prices.return_pct as last_return_pct,
    last_prices.is_halted
from {{ source('raw', 'stocks') }} as stocks
-- One index probe a stock; DISTINCT ON would read every bar ever recorded.
left join lateral (
    select
        prices.trade_date,
        prices.close,
        prices.return_pct,
        prices.is_halted
    from {{ ref('daily_prices') }} as prices
    where prices.stock_code = stocks.stock_code
    order by prices.trade_date desc
    limit 1
) as last_prices on true
