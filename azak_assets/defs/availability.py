"""When a session's rows can be asked for, as a tag on each asset that asks a market's upstream.

Belongs here: the tag's values and selections by them. Does not belong here: instants (`krx`, `schedules`).
"""

from typing import Literal

import dagster as dg

TAG = "azak/available"
Availability = Literal["intraday", "close", "half_hour_after_close", "after_hours", "next_day", "weekly"]
"""`intraday`: only while the session runs. `close`: once bars are final. `half_hour_after_close`: investor flows.
`after_hours`: when that session is over. `next_day`: published on the next morning. `weekly`: of no session; asked once
a week, after everything that a session needs."""


def available(when: Availability) -> dict[str, str]:
    """The tag, for an asset's ``tags``."""
    return {TAG: when}


def assets_available(*when: Availability) -> dg.AssetSelection:
    """Every asset that bears one of the tags."""
    selection = dg.AssetSelection.tag(TAG, when[0])
    for other in when[1:]:
        selection |= dg.AssetSelection.tag(TAG, other)
    return selection
