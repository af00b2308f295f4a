{{ config(tags='before_forecasts') }}

-- What was known of a stock, and when: the current row and the ones it replaced.
select
    stock_code,
    listed_shares,
    known_at as valid_from,
    'infinity'::timestamptz as valid_to
from {{ source('raw', 'stocks') }}
union all
select
    stock_code,
    listed_shares,
    known_at as valid_from,
    superseded_at as valid_to
from {{ history_of('raw', 'stocks') }}
