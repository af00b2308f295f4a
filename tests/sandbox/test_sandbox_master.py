"""The master files, read with the offsets the broker's own sample programs use (counted from the end of a line)."""

import io
import zipfile

import httpx


def _lines(http: httpx.Client, name: str) -> list[bytes]:
    answer = http.get(f"/kis-master/{name}.mst.zip")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [f"{name}.mst"]
        return archive.read(f"{name}.mst").splitlines(keepends=True)


def test_every_line_has_the_published_width(http, seeded, clock):
    # 21 bytes of codes, 40 of name; then 228, 222 and 185 bytes, the line's end included.
    counts = {}
    for market, block in (("kospi", 228), ("kosdaq", 222), ("konex", 185)):
        lines = _lines(http, f"{market}_code")
        assert {len(line) for line in lines} == {21 + 40 + block}
        counts[market.upper()] = len(lines)
    issues = seeded.issues(clock.now)
    assert counts == {m: sum(issue.market == m for issue in issues) for m in counts}
    assert min(counts.values()) >= 10


def test_fields_are_where_the_samples_read_them(http, seeded, clock):
    issues = {issue.code: issue for issue in seeded.issues(clock.now)}
    for market, block in (("kospi", 228), ("kosdaq", 222)):
        for line in _lines(http, f"{market}_code"):
            issue = issues[line[:9].decode().rstrip()]
            assert line[9:21].decode() == issue.isin
            assert line[21:-block].decode("cp949").rstrip() == issue.name
            tail = line[-block:].decode("cp949").rstrip("\n")
            assert tail[:2] == issue.group
            assert tail[3:7] == issue.sector
            # From the end: stock loan 1, collateral 1, credit limit 1, group 3, market value 9 (100 million KRW).
            assert int(tail[-15:-6]) == issue.market_cap_krw // 100_000_000
            assert tail[-23:-15].strip() == ""
    for line in _lines(http, "konex_code"):
        tail = line.decode("cp949").rstrip("\n")
        issue = issues[tail[:9].rstrip()]
        # The offsets of the sample for KONEX: kind [-184:-182], base price [-182:-173], halted [-163:-162],
        # listed on [-118:-110], listed thousand [-110:-95], market value [-12:-3].
        assert tail[-184:-182] == "KN"
        assert int(tail[-182:-173]) == issue.previous_close
        assert tail[-163:-162] == ("Y" if issue.is_halted else "N")
        assert tail[-118:-110] == f"{issue.listed_on:%Y%m%d}"
        assert int(tail[-110:-95]) == issue.listed_shares // 1000
        assert int(tail[-12:-3]) == issue.market_cap_krw // 100_000_000


def test_spac_and_preferred_flags(http, seeded, clock):
    # Widths of the KOSDAQ block before the flag: 2 1 4 4 4, then nine of one letter.
    spacs = {line[:6].decode() for line in _lines(http, "kosdaq_code") if line[-222:][24:25] == b"Y"}
    assert spacs == {issue.code for issue in seeded.issues(clock.now) if issue.is_spac}
    assert spacs
    # The flag of preferred shares is followed by 68 letters of a KOSPI line.
    preferred = {line[:6].decode() for line in _lines(http, "kospi_code") if line.rstrip(b"\n")[-69:-68] == b"1"}
    assert preferred == {issue.code for issue in seeded.issues(clock.now) if issue.is_preferred}
    assert preferred


def test_index_codes_have_names(http):
    names = {line[1:5].decode(): line[5:].decode("cp949").strip() for line in _lines(http, "idxcode")}
    assert names["0013"] == "전기전자"
    assert names["1001"] == "KOSDAQ"


def test_unknown_file_is_not_found(http):
    assert http.get("/kis-master/nasdaq_code.mst.zip").status_code == 404
