"""The one partitions definition of Azak: a partition is a KRX trading day.

Put nothing else here: calendar questions belong to ``krx``, storage to ``warehouse``. This module loads without a
network or a database, since every asset imports it.
"""

from datetime import datetime, time

import dagster as dg

from azak_assets import krx
from azak_assets.universe import FIRST_TRADING_DAY

TRADING_DAYS = dg.DailyPartitionsDefinition(
    start_date=FIRST_TRADING_DAY.isoformat(),
    timezone="Asia/Seoul",
    # Today's key is usable today. On a closed day this also offers the next session, which is right for news
    # (weekend news belongs there); market assets refuse a session that has not opened.
    end_offset=1,
    # Weekends as one cron string: listing every closed day would make each asset's snapshot eight times larger.
    exclusions=[
        "0 0 * * 0,6",
        *(
            datetime.combine(closure.day, time.min, krx.KST)
            for closure in krx.weekday_closures()
            if closure.day >= FIRST_TRADING_DAY
        ),
    ],
)
