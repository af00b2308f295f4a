"""A small recorded folder of invented data, in the layout that `azak run --replay` takes.

Twelve invented companies over the ten sessions from 2022-01-03, with the cases that matter: a halt, a headline of two
companies, the same article on two pages, weekend news, an exact duplicate, a correction, a filing of no listed company.
"""

import csv
import gzip
from datetime import date
from pathlib import Path

from azak_assets import krx

FIRST, LAST = date(2022, 1, 3), date(2022, 1, 14)
HALTED = ("990050", date(2022, 1, 6))

COMPANIES = {
    "990010": "가온누리전자",
    "990020": "다솜바이오팜",
    "990030": "라온모빌리티",
    "990040": "마루에너텍",
    "990050": "바른소재산업",
    "990060": "사임조선해운",
    "990070": "아람게임웍스",
    "990080": "자람건설기계",
    "990090": "차오름화학",
    "990100": "카린통신장비",
    "990110": "타래식품그린",
    "990120": "하늘결항공",
}

NEWS = [
    # page, title, press, date, article id (None: listed without an address)
    ("990010", "가온누리전자, 4분기 영업이익 시장 기대 웃돌아", "한빛경제", date(2021, 12, 31), 1),
    ("990010", "가온누리전자·라온모빌리티 전장 부품 공동 개발 나선다", "한빛경제", date(2022, 1, 3), 2),
    ("990030", "가온누리전자·라온모빌리티 전장 부품 공동 개발 나선다", "한빛경제", date(2022, 1, 3), 2),
    ("990020", "다솜바이오팜, 임상 3상 실패 소식에 급락", "새벽일보", date(2022, 1, 5), 3),
    ("990020", "다솜바이오팜 임상 실패…증권가 목표가 줄하향", None, date(2022, 1, 5), None),
    ("990040", "마루에너텍 대규모 공급계약 체결", "온누리신문", date(2022, 1, 8), 4),
    ("990040", "마루에너텍 대규모 공급계약 체결", "온누리신문", date(2022, 1, 8), 5),
    ("990070", "아람게임웍스 신작 흥행에 신고가", "새벽일보", date(2022, 1, 11), 6),
    ("990060", "사임조선해운, 컨테이너선 6척 수주", "한빛경제", date(2022, 1, 12), 7),
    ("990060", "오늘의 증시 일정", "한빛경제", date(2022, 1, 13), 8),
    ("990060", "사임조선해운 우려 확산", "한빛경제", date(2022, 1, 20), 9),
]
"""The last one lies behind the window and must stay outside."""

DISTINCT_INSIDE = 9
MATCHED = {("990010", 2), ("990020", 2), ("990030", 1), ("990040", 2), ("990060", 1), ("990070", 1)}


def write(folder: Path) -> Path:
    """Write the folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    sessions = [session.day for session in krx.sessions(FIRST, LAST)]
    bars = []
    for number, (code, name) in enumerate(COMPANIES.items()):
        market = ("KOSPI", "KOSDAQ", "KONEX")[number % 3]
        shares = 1_000_000 * (number + 1)
        price = 10_000 + 1_000 * number
        for step, day in enumerate(sessions):
            # A deterministic walk on the tick grid: up, down and flat days for every stock.
            price += (100, -50, 0, 150, -100)[(step + number) % 5]
            volume = 1_000 + 10 * step
            traded = (price - 50, price + 100, price - 100, price, volume, volume * price)
            halted = (0, 0, 0, price, 0, 0)
            prices = halted if (code, day) == HALTED else traded
            bars.append((code, name, market, day, *prices, price * shares, shares))
    columns = "stock_code name market trade_date open high low close volume turnover_krw market_cap_krw listed_shares"
    with gzip.open(folder / "daily_bars.csv.gz", "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns.split(), *bars])

    levels = (("KOSPI", 3000.0), ("KOSDAQ", 1000.0), ("KOSPI200", 400.0))
    _write(
        folder / "index_bars_2022.csv",
        "Date Close UpDown Comp Change Open High Low Volume Amount MarCap index_name",
        [
            (
                day,
                level + step,
                1,
                1.0,
                0.001,
                level + step - 1,
                level + step + 2,
                level + step - 2,
                5e8,
                9e12,
                2e15,
                name,
            )
            for step, day in enumerate(sessions)
            for name, level in levels
        ],
    )
    address = "https://finance.naver.com/item/news_read.naver?article_id={:010d}&office_id=990&code={}&page=1"
    _write(
        folder / "news.csv",
        "stock_page_code title press published_date url",
        [
            (page, title, press or "", day, address.format(article, page) if article else "")
            for page, title, press, day, article in NEWS
        ],
    )
    contract, audit = "단일판매ㆍ공급계약체결", "감사보고서제출"
    listed, unlisted = ("가온누리전자", "00990010"), ("비상장상사", "00990999")
    _write(
        folder / "disclosures_2022-01-03.csv",
        "page time market corp_name corp_code report_nm rcept_no flr_nm rcept_dt rm",
        [
            ("page1", "18:00", "유", *listed, contract, "20220103000001", listed[0], "2022.01.03", ""),
            ("page1", "17:00", "기", *unlisted, audit, "20220103000002", unlisted[0], "2022.01.03", ""),
            ("page1", "16:00", "유", *listed, f"[기재정정]{contract}", "20220104000003", listed[0], "2022.01.04", ""),
        ],
    )
    _write(
        folder / "corp_codes_listed.csv",
        "corp_code corp_name corp_eng_name stock_code modify_date",
        [(f"00{code}", name, f"Invented {code}", code, "20211201") for code, name in COMPANIES.items()],
    )
    return folder


def _write(path: Path, columns: str, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns.split(), *rows])
