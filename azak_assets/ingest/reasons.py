"""Why a step has nothing, or not all, to load: a stable code each, for code, tests and queries over Dagster's events.

Belongs here: the codes. Does not belong here: the sentence beside a code, which its step writes for people and which
may change (`report`); why an upstream failed (`sources.failures`).
"""

from enum import StrEnum


class Reason(StrEnum):
    """A code in the metadata ``reason`` of a materialization, beside the sentence in ``state``."""

    LANDED = "landed"
    """Of a single session: its rows are there, other sessions of the run have none."""
    NOT_CONFIGURED = "not_configured"
    NOT_RECORDED = "not_recorded"
    """The world has no data of this feed."""
    NO_SOURCE = "no_source"
    PAPER_ACCOUNT = "paper_account"
    NOT_APPROVED = "not_approved"
    """The key was not approved for a part of the service."""
    ASKED_RECENTLY = "asked_recently"
    OTHER_COLLECTOR = "other_collector"
    """Another run collects this session now."""
    NOT_OUT_YET = "not_out_yet"
    SESSION_OVER = "session_over"
    NOT_COLLECTED = "not_collected"
    """Only a running session has the rows, and no run collected them then."""
    PAST_REACH = "past_reach"
    """The upstream no longer gives rows this old."""
    BEING_REPLACED = "being_replaced"
    """The upstream already answers about the next session."""
    DISCONTINUED = "discontinued"
    """The exchange no longer holds such a session."""
    EMPTY = "empty"
    """The upstream answered that it has nothing."""
