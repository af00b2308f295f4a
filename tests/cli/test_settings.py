"""The environment as `Settings` reads it: mode, empty and untidy values, the sandbox in place of every upstream."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from azak_assets.settings import SANDBOX_KEY, SANDBOX_PREFIXES, EmbedderName, Mode, Settings, described


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _, _ in described():
        monkeypatch.delenv(name, raising=False)


def keyed(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({}, Mode.SANDBOX),
        ({"KIS_APP_KEY": "a"}, Mode.SANDBOX),
        ({"KIS_APP_SECRET": "b"}, Mode.SANDBOX),
        ({"KIS_APP_KEY": "a", "KIS_APP_SECRET": "b"}, Mode.LIVE),
        ({"KIS_APP_KEY": "a", "KIS_APP_SECRET": ""}, Mode.SANDBOX),
        ({"KIS_APP_KEY": "a", "KIS_APP_SECRET": " \n"}, Mode.SANDBOX),
        ({"KIS_APP_KEY": "a", "KIS_APP_SECRET": "b", "AZAK_MODE": "sandbox"}, Mode.SANDBOX),
        ({"KIS_APP_KEY": "a", "KIS_APP_SECRET": "b", "AZAK_MODE": ""}, Mode.LIVE),
        ({"AZAK_MODE": "live"}, Mode.LIVE),
        ({"OPENAI_API_KEY": "c", "NAVER_CLIENT_ID": "d", "NAVER_CLIENT_SECRET": "e"}, Mode.SANDBOX),
    ],
)
def test_live_only_when_asked_for_or_both_kis_keys_are_set(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], mode: Mode
) -> None:
    assert keyed(monkeypatch, **values).mode is mode


def test_a_key_from_a_secrets_file_loses_its_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = keyed(monkeypatch, OPENDART_API_KEY=" abc\r\n", NAVER_BASE_URL="http://127.0.0.1:1/naver \n")
    assert settings.opendart_api_key == SecretStr("abc")
    assert settings.naver_base_url == "http://127.0.0.1:1/naver"


@pytest.mark.parametrize("name", [name for name, _, _ in described()])
@pytest.mark.parametrize("nothing", ["", "  ", "\n"])
def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, name: str, nothing: str) -> None:
    unset = Settings()
    assert keyed(monkeypatch, **{name: nothing}) == unset


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZAK_MODE", "production"),
        ("AZAK_EMBEDDER", "word2vec"),
        ("AZAK_LLM_BUDGET_USD", "much"),
        ("AZAK_LLM_BUDGET_USD", "-1"),
        ("AZAK_LLM_BUDGET_USD", "nan"),
        ("KIS_CALLS_PER_SECOND", "0"),
        ("KIS_CALLS_PER_SECOND", "inf"),
        ("KIS_CALLS_PER_SECOND", "nan"),
        ("KIS_CALLS_PER_SECOND", "fast"),
        ("KIS_BASE_URL", "openapi.koreainvestment.com"),
        ("MK_BASE_URL", "ftp://mk.co.kr"),
        ("OPENAI_BASE_URL", "http://"),
        ("AZAK_SANDBOX_URL", "http://127.0.0.1:port"),
        ("AZAK_SANDBOX_URL", "http://[::1"),
        ("AZAK_UI_ORIGINS", "*"),
        ("AZAK_UI_ORIGINS", "null"),
        ("AZAK_UI_ORIGINS", "azak.example.com"),
        ("AZAK_UI_ORIGINS", "https://*.example.com"),
        ("AZAK_UI_ORIGINS", "https://azak.example.com/ui"),
        ("AZAK_UI_ORIGINS", "https://azak.example.com,"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        keyed(monkeypatch, **{name: value})
    (problem,) = refused.value.errors()
    assert problem["loc"] == (name.lower(),)
    assert problem["input"] == value


def test_origins_are_those_that_a_browser_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().ui_origins == ()
    settings = keyed(monkeypatch, AZAK_UI_ORIGINS="https://Azak.example.com:443/, http://azak.lan:8080,http://[::2]:80")
    assert settings.ui_origins == ("https://azak.example.com", "http://azak.lan:8080", "http://[::2]")


def test_every_base_url_may_point_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {name.upper(): f"http://localhost:1234{prefix}" for name, prefix in SANDBOX_PREFIXES.items()}
    assert set(elsewhere) == {name for name, _, _ in described() if name.endswith("_BASE_URL")}
    settings = keyed(monkeypatch, AZAK_MODE="live", **elsewhere)
    assert settings.mode is Mode.LIVE
    for name, url in elsewhere.items():
        assert getattr(settings, name.lower()) == url


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({}, 15),
        ({"KIS_BASE_URL": "https://openapivts.koreainvestment.com:29443"}, 1 / 1.1),
        ({"KIS_BASE_URL": "https://OPENAPIVTS.koreainvestment.com:29443/"}, 1 / 1.1),
        ({"KIS_BASE_URL": "https://openapi.koreainvestment.com:9443"}, 15),
        ({"KIS_BASE_URL": "http://127.0.0.1:1/openapivts.koreainvestment.com"}, 15),
        ({"KIS_CALLS_PER_SECOND": "2.5"}, 2.5),
        ({"KIS_CALLS_PER_SECOND": "0.5", "KIS_BASE_URL": "https://openapivts.koreainvestment.com:29443"}, 0.5),
    ],
)
def test_kis_is_asked_as_often_as_the_account_allows(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], rate: float
) -> None:
    settings = keyed(monkeypatch, **values)
    assert settings.kis_rate == pytest.approx(rate)
    assert settings.in_sandbox("http://127.0.0.1:8900").kis_rate == 15


def test_in_the_sandbox_no_upstream_and_no_key_is_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    names.remove("azak_database_url")
    settings = keyed(monkeypatch, **{name.upper(): "real" for name in names}).in_sandbox("http://127.0.0.1:8900/")
    assert settings.mode is Mode.SANDBOX
    for name in SANDBOX_PREFIXES:
        assert getattr(settings, name).startswith("http://127.0.0.1:8900/"), name
    for name in names:
        assert getattr(settings, name) == SecretStr(SANDBOX_KEY), name


def test_the_mode_of_sandbox_settings_does_not_depend_on_who_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = keyed(monkeypatch, KIS_APP_KEY="a", KIS_APP_SECRET="b")
    assert settings.mode is Mode.LIVE
    assert settings.in_sandbox("http://127.0.0.1:8900").mode is Mode.SANDBOX


def test_secrets_stay_out_of_what_python_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    settings = keyed(monkeypatch, **dict.fromkeys(names, "do-not-show-me"))
    assert len(names) > 8
    assert "do-not-show-me" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_a_home_means_the_same_folder_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert Settings().azak_home == tmp_path / ".azak"
    assert keyed(monkeypatch, AZAK_HOME="~/azak").azak_home == tmp_path / "user" / "azak"


def test_the_defaults_need_nothing() -> None:
    settings = Settings()
    assert settings.azak_embedder is EmbedderName.LOCAL
    assert settings.azak_database_url is None
    assert settings.mode is Mode.SANDBOX


def test_every_setting_says_what_it_is_for() -> None:
    for name, _, meaning in described():
        assert len(meaning) > 10, name
        assert meaning.endswith("."), name
