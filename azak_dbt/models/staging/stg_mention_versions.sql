{{ config(tags='before_forecasts') }}

-- Every version of every mention, for finding when a match was first known: an edit may move the words of a headline.
select
    article_id,
    stock_code,
    known_at
from {{ source('text', 'mentions') }}
union all
select
    article_id,
    stock_code,
    known_at
from {{ history_of('text', 'mentions') }}
