{{
    config(
        tags='before_forecasts',
        meta={'window_days': ['trading_day']},
        unique_key='trading_day',
        indexes=[
            {'columns': ['stock_code', 'trading_day']},
            {'columns': ['trading_day']},
            {'columns': ['tradable_session']},
        ]
    )
}}

-- Which of these a model is asked about, and with which cut-off, is decided in Python, which reads no mart:
-- _questions in azak_assets/forecast/predict.py. tests/dbt/test_rules_agree.py runs both over the same rows.

with

articles as (
    select *
    from {{ ref('stg_articles') }}
    where {{ in_window('trading_day') }}
),

-- The mention that stands first: the title before the excerpt, then by position. Names of one place (an alias inside
-- a longer name) are told apart by length and surface, so that the choice never depends on the order of rows.
mentions as (
    select
        mentions.*,
        row_number() over (
            partition by mentions.article_id, mentions.stock_code
            order by
                mentions.field = 'title' desc, mentions.span_start asc, mentions.span_end desc, mentions.surface asc
        ) as mention_rank,
        count(*) over (partition by mentions.article_id, mentions.stock_code) as mention_count
    from {{ source('text', 'mentions') }} as mentions
    inner join articles on mentions.article_id = articles.article_id
),

first_mentions as (
    select
        *,
        count(*) over (partition by article_id) as stock_count
    from mentions
    where mention_rank = 1
),

placed as (
    select
        articles.article_id,
        first_mentions.stock_code,
        articles.trading_day,
        tradable.trade_date as tradable_session,
        first_known.known_at,
        articles.title,
        articles.press,
        articles.url,
        first_mentions.field,
        first_mentions.span_start,
        first_mentions.span_end,
        first_mentions.surface,
        first_mentions.method,
        first_mentions.mention_count,
        first_mentions.stock_count,
        articles.cluster_id,
        articles.is_duplicate,
        case when first_mentions.field = 'title' then 0.7 else 0.35 end as field_weight,
        first_mentions.span_start::numeric / greatest(
            case when first_mentions.field = 'title' then articles.title_length else articles.excerpt_length end, 1
        ) as relative_position
    from first_mentions
    -- When it was first known that the article is about the stock: an edited headline is a new version of its mention,
    -- and the market had read the old one. A probe for each, since the planner cannot know that the window is small.
    cross join
        lateral (
            select min(versions.known_at) as known_at
            from {{ ref('stg_mention_versions') }} as versions
            where
                versions.article_id = first_mentions.article_id
                and versions.stock_code = first_mentions.stock_code
        ) as first_known
    -- The first session that closes after it was known.
    cross join
        lateral (
            select sessions.trade_date
            from {{ source('raw', 'trading_sessions') }} as sessions
            where
                sessions.trade_date >= (first_known.known_at at time zone 'Asia/Seoul')::date
                and sessions.close_at > first_known.known_at
            order by sessions.trade_date
            limit 1
        ) as tradable
    inner join articles on first_mentions.article_id = articles.article_id
)

-- relevance_score = (field + position + repetition) / √stocks
--   field       0.70 in the title, 0.35 in the excerpt only: a title mention outranks any other of its article
--   position    0.20 at the head of that text, falling to 0 at its end
--   repetition  0.05 for each further mention, two at most
--   stocks      how many stocks the article names: a list of ten says little about each
select
    article_id,
    stock_code,
    trading_day,
    tradable_session,
    known_at,
    title,
    press,
    url,
    field,
    span_start,
    span_end,
    surface,
    method,
    mention_count::integer as mention_count,
    stock_count::integer as stock_count,
    round(
        (
            field_weight
            + 0.2 * (1 - least(relative_position, 1))
            + 0.05 * least(mention_count - 1, 2)
        ) / sqrt(stock_count::numeric),
        4
    )::double precision as relevance_score,
    cluster_id,
    is_duplicate
from placed
