"""Quotes and order books: what is a price and what stands for none, and who is asked about."""

from datetime import datetime

import pytest
from local_servers import Reply, kis_success

from azak_assets import krx
from azak_assets.sources.failures import ContractChanged, Empty

NOW = datetime(2026, 2, 10, 10, 5, 3, tzinfo=krx.KST)
CODE = "005930"
QUOTE = {
    "iscd_stat_cls_code": "55", "temp_stop_yn": "N", "stck_prpr": "128500", "stck_oprc": "128000",
    "stck_hgpr": "129500", "stck_lwpr": "127500", "stck_sdpr": "128500", "stck_mxpr": "167000", "stck_llam": "90000",
    "acml_vol": "1200345", "acml_tr_pbmn": "154963210500", "wghn_avrg_stck_prc": "129097.23",
    "frgn_ntby_qty": "-287624",
    "pgtr_ntby_qty": "1000", "hts_frgn_ehrt": "49.63", "mrkt_warn_cls_code": "00", "vi_cls_code": "N",
    "stck_shrn_iscd": CODE, "fcam_cnnm": "5,000", "cpfn_cnnm": "36,576 억",
}  # fmt: skip
BEFORE_THE_FIRST_TRADE = {"stck_oprc": "0", "stck_hgpr": "0", "stck_lwpr": "0", "acml_vol": "0", "acml_tr_pbmn": "0"}


def book(asks, bids, **about):
    levels = {}
    for side, given in (("askp", asks), ("bidp", bids)):
        for level in range(1, 11):
            price, shares = given[level - 1] if level <= len(given) else (0, 0)
            levels |= {f"{side}{level}": str(price), f"{side}_rsqn{level}": str(shares)}
        levels[f"total_{side}_rsqn"] = str(sum(shares for _, shares in given))
    return {**levels, "new_mkop_cls_code": "20", "aspr_acpt_hour": "100503", **about}


NO_AUCTION = {"antc_cnpr": "0", "antc_vol": "0", "vi_cls_code": "N", "stck_shrn_iscd": CODE}
ASKS = [(70_100 + 100 * n, 10 + n) for n in range(10)]
BIDS = [(70_000 - 100 * n, 20 + n) for n in range(10)]


@pytest.fixture
def client(kis_client):
    return kis_client(now=lambda: NOW)


@pytest.fixture
def answer(kis):
    """Let the server answer the next question with these parts."""

    def say(**parts):
        kis.faults.append(Reply({**kis_success([]), **parts}))

    return say


def test_a_quote_is_read_with_its_signs_and_the_instant_of_the_answer(client, answer):
    answer(output=QUOTE)
    (quote,) = client.quote(CODE).records
    assert (quote.price, quote.open, quote.high, quote.low) == (128_500, 128_000, 129_500, 127_500)
    assert (quote.volume, quote.turnover_krw, quote.vwap) == (1_200_345, 154_963_210_500, 129_097.23)
    assert (quote.foreign_net_shares, quote.program_net_shares, quote.foreign_held_pct) == (-287_624, 1_000, 49.63)
    assert (quote.upper_limit, quote.lower_limit, quote.reference_price) == (167_000, 90_000, 128_500)
    assert (quote.is_halted, quote.is_in_vi, quote.status_code, quote.warning_code) == (False, False, "55", "00")
    assert (quote.known_at, quote.trade_date) == (NOW, NOW.date())


def test_what_is_asked_is_the_krx_alone(kis, client, answer):
    answer(output=QUOTE)
    client.quote(CODE)
    asked = kis.quotes[-1]
    assert (asked.path.rpartition("/")[2], asked.headers["tr_id"]) == ("inquire-price", "FHKST01010100")
    assert asked.query == {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": CODE}


def test_before_the_first_trade_there_is_a_price_and_no_open_high_or_low(client, answer):
    answer(output={**QUOTE, **BEFORE_THE_FIRST_TRADE, "wghn_avrg_stck_prc": "0.00"})
    (quote,) = client.quote(CODE).records
    assert (quote.price, quote.volume, quote.turnover_krw) == (128_500, 0, 0)
    assert (quote.open, quote.high, quote.low, quote.vwap) == (None, None, None, None)
    assert not quote.is_halted


@pytest.mark.parametrize("state", [{"iscd_stat_cls_code": "58"}, {"temp_stop_yn": "Y"}])
def test_a_halted_issue_says_so_and_is_no_zero(client, answer, state):
    answer(output={**QUOTE, **BEFORE_THE_FIRST_TRADE, **state})
    (quote,) = client.quote(CODE).records
    assert quote.is_halted
    assert (quote.price, quote.open) == (128_500, None)


def test_every_key_but_price_and_totals_may_be_missing(client, answer):
    needed = ("stck_prpr", "stck_oprc", "stck_hgpr", "stck_lwpr", "acml_vol", "acml_tr_pbmn")
    answer(output={name: QUOTE[name] for name in needed})
    (quote,) = client.quote(CODE).records
    assert (quote.vwap, quote.reference_price, quote.is_in_vi, quote.status_code) == (None, None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stck_prpr", ""), ("stck_prpr", "0"), ("acml_vol", "많음"), ("acml_tr_pbmn", "-1"), ("stck_hgpr", "128400"),
        ("stck_lwpr", "0"), ("frgn_ntby_qty", "x"), ("wghn_avrg_stck_prc", "nan"), ("stck_sdpr", "1.5"),
        ("stck_shrn_iscd", "000660"),
    ],
)  # fmt: skip
def test_a_quote_that_cannot_be_true_is_refused_by_field_and_value(client, answer, field, value):
    answer(output={**QUOTE, field: value})
    batch = client.quote(CODE)
    assert batch.records == []
    (reject,) = batch.rejects
    assert reject.field in {field, "stck_hgpr"}
    assert reject.reason


@pytest.mark.parametrize("written", ["1_000", "１２．３", "nan", "1e3", "+5"])
def test_a_number_that_only_python_would_read_is_none(client, answer, written):
    answer(output={**QUOTE, "hts_frgn_ehrt": written})
    batch = client.quote(CODE)
    assert batch.records == []
    assert [(one.field, one.reason) for one in batch.rejects] == [("hts_frgn_ehrt", "is not a number")]


def test_a_book_has_ten_levels_a_side_best_first(client, answer):
    answer(output1=book(ASKS, BIDS), output2=NO_AUCTION)
    (read,) = client.order_book(CODE).records
    assert list(zip(read.ask_prices, read.ask_shares, strict=True)) == ASKS
    assert list(zip(read.bid_prices, read.bid_shares, strict=True)) == BIDS
    assert (read.total_ask_shares, read.total_bid_shares) == (145, 245)
    assert (read.expected_price, read.expected_volume, read.phase_code) == (None, None, "20")
    assert read.known_at == NOW


def test_an_empty_book_has_no_levels_and_no_zeros(client, answer):
    answer(output1=book([], []), output2=NO_AUCTION)
    (read,) = client.order_book(CODE).records
    assert (read.ask_prices, read.ask_shares, read.bid_prices, read.bid_shares) == ([], [], [], [])


def test_a_stock_at_its_limit_has_one_side(client, answer):
    answer(output1=book([], BIDS[:4]), output2=NO_AUCTION)
    (read,) = client.order_book(CODE).records
    assert (read.ask_prices, read.bid_prices) == ([], [70_000, 69_900, 69_800, 69_700])


def test_an_auction_under_way_tells_what_it_would_make(client, answer):
    answer(output1=book(ASKS, BIDS), output2={**NO_AUCTION, "antc_cnpr": "70050", "antc_vol": "1234"})
    (read,) = client.order_book(CODE).records
    assert (read.expected_price, read.expected_volume) == (70_050, 1_234)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"askp3": "0"}, "askp3"),
        ({"askp4": "70100"}, "askp4"),
        ({"bidp2": "70000"}, "bidp2"),
        ({"bidp_rsqn5": "-3"}, "bidp_rsqn5"),
        ({"askp1": "많음"}, "askp1"),
        ({"total_askp_rsqn": ""}, "total_askp_rsqn"),
    ],
)
def test_a_book_that_cannot_be_true_is_refused(client, answer, changes, field):
    answer(output1=book(ASKS, BIDS, **changes), output2=NO_AUCTION)
    batch = client.order_book(CODE)
    assert batch.records == []
    assert [reject.field for reject in batch.rejects] == [field]


def test_an_unknown_code_is_empty_and_an_answer_of_another_shape_a_changed_contract(client, answer):
    answer(output=dict.fromkeys(QUOTE, ""))
    with pytest.raises(Empty, match="no quote of 005930"):
        client.quote(CODE)
    answer(output1=dict.fromkeys(book([], []), ""), output2=dict.fromkeys(NO_AUCTION, ""))
    with pytest.raises(Empty, match="no book of 005930"):
        client.order_book(CODE)
    answer(output=[QUOTE])
    with pytest.raises(ContractChanged, match="output is list, not an object"):
        client.quote(CODE)
