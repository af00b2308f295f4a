"""Reddit posts and article bodies, and what feeds and hosts said of themselves."""

# ruff: noqa: E501
# fmt: off

from typing import Any

import sqlalchemy as sa
from alembic import op

from azak_assets.warehouse.migrations import ddl

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables with their histories and as-of functions."""
    op.create_table('reddit_posts',
        sa.Column('post_id', sa.Text(), nullable=False, comment="Reddit's id of the post, without the prefix of its kind"),
        sa.Column('subreddit', sa.Text(), nullable=False, comment='Subreddit it was listed in'),
        sa.Column('title', sa.Text(), nullable=False, comment='Title'),
        sa.Column('text', sa.Text(), nullable=True, comment='Text as written, Markdown; NULL where the post only points somewhere'),
        sa.Column('link_url', sa.Text(), nullable=True, comment='Address the post points at; NULL for a post of text'),
        sa.Column('url', sa.Text(), nullable=False, comment='Address of the post'),
        sa.Column('author', sa.Text(), nullable=True, comment='Account that wrote it; NULL where it is gone'),
        sa.Column('score', sa.Integer(), nullable=False, comment='Upvotes minus downvotes when this version was first seen'),
        sa.Column('comments', sa.Integer(), nullable=False, comment='Comments when this version was first seen'),
        sa.Column('published_at', sa.DateTime(timezone=True), nullable=False, comment='Instant of publication'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: observed_at if seen within 24 hours of published_at, else published_at; later versions observed_at'),
        sa.Column('trading_day', sa.Date(), nullable=False, comment='Session the row belongs to (its partition), a KST date; fixed when the row was first written'),
        sa.Column('tradable_session', sa.Date(), nullable=False, comment='First session that closes after known_at, a KST date: returns and scores start there'),
        *_provenance(),
        sa.PrimaryKeyConstraint('post_id', name=op.f('reddit_posts_pkey')),
        schema='raw',
        comment='Noticed posts of a few subreddits, one row a post',
    )
    op.create_index(op.f('reddit_posts_trading_day_idx'), 'reddit_posts', ['trading_day'], unique=False, schema='raw')
    op.create_table('article_bodies',
        sa.Column('article_id', sa.Text(), nullable=False, comment='Article of raw.news_articles'),
        sa.Column('url', sa.Text(), nullable=False, comment='Address that was asked'),
        sa.Column('status', sa.Text(), nullable=False, comment='read, no_text (a paywall or another page), gone, moved or disallowed (by robots.txt)'),
        sa.Column('extent', sa.Text(), nullable=True, comment='How much of the text is kept: excerpt or full; NULL unless read'),
        sa.Column('text', sa.Text(), nullable=True, comment='Text without markup, a line a paragraph; NULL unless read'),
        sa.Column('characters', sa.Integer(), nullable=True, comment='Characters of the whole text; NULL unless read'),
        sa.Column('content_hash', sa.Text(), nullable=True, comment='sha256 of the whole text; NULL unless read'),
        sa.Column('trading_day', sa.Date(), nullable=False, comment='Trading day of the article, a KST date'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: observed_at'),
        *_provenance(),
        sa.CheckConstraint("status in ('read', 'no_text', 'gone', 'moved', 'disallowed')", name=op.f('article_bodies_status_check')),
        sa.CheckConstraint("extent in ('excerpt', 'full')", name=op.f('article_bodies_extent_check')),
        sa.PrimaryKeyConstraint('article_id', name=op.f('article_bodies_pkey')),
        schema='raw',
        comment="What publishers' article pages said when they were read, one row an article asked for; empty unless switched on",
    )
    op.create_index(op.f('article_bodies_trading_day_idx'), 'article_bodies', ['trading_day'], unique=False, schema='raw')
    for table, key in (("raw.reddit_posts", "post_id"), ("raw.article_bodies", "article_id")):
        ddl.create_history(table, key=key, day="trading_day")
        ddl.create_forget_trigger(table)
        ddl.create_as_of(table)
    op.create_table('feed_validators',
        sa.Column('feed', sa.Text(), nullable=False, comment='Publisher and path of the feed'),
        sa.Column('etag', sa.Text(), nullable=True, comment='ETag of the last answer whose items are stored'),
        sa.Column('last_modified', sa.Text(), nullable=True, comment='Last-Modified of that answer, as it came'),
        sa.Column('confirmed_at', sa.DateTime(timezone=True), nullable=False, comment='When its items were stored'),
        sa.PrimaryKeyConstraint('feed', name=op.f('feed_validators_pkey')),
        schema='ops',
        comment='What each feed said of its version, one row a feed, so that an unchanged one is not sent again',
    )
    op.create_table('crawled_hosts',
        sa.Column('host', sa.Text(), nullable=False, comment='Host whose article pages are read'),
        sa.Column('robots', sa.Text(), nullable=False, comment='Its robots.txt as read; empty where it has none'),
        sa.Column('refusal', sa.Text(), nullable=True, comment='How it refused us: it is left alone for the day; NULL where it did not'),
        sa.Column('read_at', sa.DateTime(timezone=True), nullable=False, comment='When it was asked; its word counts for that KST day'),
        sa.PrimaryKeyConstraint('host', name=op.f('crawled_hosts_pkey')),
        schema='ops',
        comment='What each publisher allows readers of its article pages, one row a host, kept for a day',
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("crawled_hosts", schema="ops")
    op.drop_table("feed_validators", schema="ops")
    for table in ("article_bodies", "reddit_posts"):
        op.execute(f"drop function raw.{table}_as_of")
        op.drop_table(f"{table}_history", schema="raw")
        op.drop_table(table, schema="raw")


def _provenance() -> list[sa.Column[Any]]:
    return [
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
    ]
