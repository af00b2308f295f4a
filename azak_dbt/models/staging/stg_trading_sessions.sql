{{ config(tags='before_forecasts') }}

select
    trade_date,
    open_at,
    close_at,
    note,
    row_number() over (order by trade_date) as session_number,
    lag(trade_date) over (order by trade_date) as previous_trade_date
from {{ source('raw', 'trading_sessions') }}
