"""When the exchange tells a session: the next morning at the earliest, the next session's at the latest."""

from datetime import date, datetime

from azak_assets.krx import KST
from azak_assets.krx.publication import published_from, surely_published_from

DAY = date(2026, 11, 19)


def test_a_session_is_published_on_the_next_day_or_after_the_weekend():
    assert published_from(DAY) == datetime(2026, 11, 20, 8, tzinfo=KST)
    assert surely_published_from(DAY) == datetime(2026, 11, 20, 8, tzinfo=KST)
    friday = date(2026, 11, 20)
    assert published_from(friday) == datetime(2026, 11, 21, 8, tzinfo=KST)
    assert surely_published_from(friday) == datetime(2026, 11, 23, 8, tzinfo=KST)
    before_chuseok = date(2026, 9, 23)
    assert surely_published_from(before_chuseok) == datetime(2026, 9, 28, 8, tzinfo=KST)
