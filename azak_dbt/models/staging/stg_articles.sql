{{ config(tags='before_forecasts') }}

select
    articles.article_id,
    articles.known_at,
    articles.trading_day,
    articles.tradable_session,
    articles.title,
    articles.press,
    articles.url,
    char_length(articles.title) as title_length,
    char_length(articles.excerpt) as excerpt_length,
    coalesce(clusters.cluster_id, articles.article_id) as cluster_id,
    coalesce(clusters.cluster_id <> articles.article_id, false) as is_duplicate
from {{ source('raw', 'news_articles') }} as articles
left join {{ source('text', 'article_clusters') }} as clusters
    on articles.article_id = clusters.article_id
