"""Settings: what they may be, and how a wrong one is told."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from shared.config import Settings, load_settings
from shared.domain.errors import Misconfigured
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.storage import Bucket

SECRET = "Hunter2-hunter2"


def complaint(**environment: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        load_settings(environment)
    return str(caught.value)


def test_without_any_setting_the_defaults_are_paper_loopback_and_the_specifications_limits() -> (
    None
):
    settings = load_settings({})

    assert settings.alpaca_paper_trading
    assert settings.alpaca_base_url == "https://paper-api.alpaca.markets"
    assert settings.api_host == "127.0.0.1"
    assert (settings.risk_max_position_size, settings.risk_max_portfolio_risk) == (0.05, 0.02)
    assert settings.risk_drawdown_limit == 0.15
    assert [settings.data_collector_port, settings.scheduler_port] == [8001, 8005]


def test_history_may_lie_in_a_bucket_and_what_a_machine_needs_for_itself_stays_on_its_disk() -> (
    None
):
    settings = load_settings(
        {
            "DATA_DIR": "s3://my-bucket/market",
            "CACHE_DIR": "/var/cache/trading",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "canary",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9000/",
        }
    )

    place = settings.history / "paper"

    assert str(place) == "s3://my-bucket/market/paper"
    assert settings.sessions_dir == Path("/var/cache/trading")
    assert isinstance(place, Bucket)
    assert place.access.endpoint == "http://127.0.0.1:9000"
    assert "canary" not in f"{settings!r} {place!r}"


def test_a_bucket_without_keys_is_told_by_whoever_opens_it_alone() -> None:
    settings = load_settings({"DATA_DIR": "s3://my-bucket/market"})

    with pytest.raises(Misconfigured, match="needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        _ = settings.history


@pytest.mark.parametrize("url", ["gs://bucket", "file:///data", "s3://Bucket"])
def test_an_address_that_is_no_bucket_is_refused(url: str) -> None:
    assert "DATA_DIR: write a folder, or a bucket like s3://" in complaint(DATA_DIR=url)


def test_inline_comments_and_spaces_are_no_part_of_a_value() -> None:
    settings = load_settings(
        {
            "RISK_MAX_POSITION_SIZE": "0.04        # 4% max position size",
            "ALPACA_BASE_URL": "https://paper-api.alpaca.markets   ",
            "TRADING_START_TIME": " 09:45 # quarter to ten",
        }
    )

    assert settings.risk_max_position_size == 0.04
    assert settings.alpaca_base_url == "https://paper-api.alpaca.markets"
    assert settings.trading_start_time == time(9, 45)


def test_an_empty_value_counts_as_not_set() -> None:
    assert load_settings({"RISK_DRAWDOWN_LIMIT": "", "ALPACA_API_KEY": ""}) == load_settings({})


def test_a_callers_mapping_is_not_mixed_with_the_process_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RISK_DRAWDOWN_LIMIT", "0.5")

    assert load_settings({}).risk_drawdown_limit == 0.15
    assert load_settings().risk_drawdown_limit == 0.5


def test_an_unknown_name_under_our_prefixes_is_refused_with_the_likeliest_meant() -> None:
    assert complaint(RISK_MAX_POSITON_SIZE="0.05") == (
        "unknown setting RISK_MAX_POSITON_SIZE; did you mean RISK_MAX_POSITION_SIZE?"
    )
    assert complaint(GOTIFY_ZZZZZZZZZZZZ="1") == "unknown setting GOTIFY_ZZZZZZZZZZZZ; remove it"


def test_other_peoples_names_are_none_of_our_business() -> None:
    assert load_settings({"PATH": "/bin", "PGHOST": "x", "HOME": "/"}) == load_settings({})


def test_every_wrong_setting_is_named_in_one_sentence() -> None:
    said = complaint(RISK_DRAWDOWN_LIMIT="2", DB_PORT="70000", TRADING_TIMEZONE="Mars/Base")

    for name in ("RISK_DRAWDOWN_LIMIT", "DB_PORT", "TRADING_TIMEZONE"):
        assert name in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("TRADING_START_TIME", "25:00", "write a time of day, like 09:30"),
        ("ALPACA_PAPER_TRADING", "perhaps", "write true or false"),
        ("RETENTION_BACKUPS", "1.5", "write a whole number, like 10"),
        ("DB_PORT", "70000", "must be less than or equal to 65535"),
    ],
)
def test_a_value_that_cannot_be_read_is_told_with_how_to_write_it(
    name: str, value: str, mend: str
) -> None:
    assert complaint(**{name: value}) == f"{name}: {mend}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RISK_MAX_POSITION_SIZE", "0"),
        ("RISK_MAX_POSITION_SIZE", "1.01"),
        ("RISK_MAX_POSITION_SIZE", "nan"),
        ("RISK_MAX_POSITION_SIZE", "inf"),
        ("RISK_STOP_LOSS", "1"),
        ("RISK_MAX_DAILY_TRADES", "0"),
        ("RISK_MAX_DAILY_TRADES", "1.5"),
        # Numbers that people do not write so, and machines read.
        ("RISK_MAX_DAILY_TRADES", "1_0"),
        ("RISK_MAX_DAILY_TRADES", "\u0661\u0660"),
        ("RISK_MAX_POSITION_SIZE", "0.0_5"),
        ("RISK_MAX_POSITION_SIZE", "1e400"),
        ("RISK_MAX_ORDER_VALUE", "nan"),
        ("RISK_STRATEGY_CAPITAL", "moving_average=0.\u0665"),
        ("RISK_SCALE_OUT", "0.0_5=0.5"),
        ("DB_PORT", "54_33"),
        ("ALPACA_PAPER_TRADING", "perhaps"),
        ("TRADING_START_TIME", "half past nine"),
        ("TRADING_ACCOUNT", "../x"),
        ("TRADING_ACCOUNT", "a" * 33),
        ("TRADING_SYMBOLS", "AAPL,../x"),
        ("TRADING_TIMEFRAME", "7Min"),
        ("STRATEGY_NAME", "os.system"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, value: str) -> None:
    assert complaint(**{name: value}).startswith(f"{name}: ")


@pytest.mark.parametrize(
    "name", ["DB_PORT", "ALPACA_PAPER_TRADING", "RISK_STOP_LOSS", "TRADING_ACCOUNT"]
)
def test_a_complaint_never_repeats_a_value_that_may_be_a_secret_in_the_wrong_place(
    name: str,
) -> None:
    assert SECRET not in complaint(**{name: SECRET})


def test_secrets_do_not_show_in_a_printed_settings_object() -> None:
    settings = load_settings({"ALPACA_SECRET_KEY": SECRET, "DB_PASSWORD": SECRET})

    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())
    assert settings.db_password is not None
    assert settings.db_password.get_secret_value() == SECRET


def test_symbols_are_parsed_once_each_in_the_order_given() -> None:
    settings = load_settings({"TRADING_SYMBOLS": "MSFT, AAPL,MSFT,,BRK.B"})

    assert settings.trading_symbols == (Symbol("MSFT"), Symbol("AAPL"), Symbol("BRK.B"))


def test_a_timeframe_may_be_written_as_people_do() -> None:
    assert load_settings({"TRADING_TIMEFRAME": "1d"}).trading_timeframe is Timeframe.DAY


def test_the_trading_window_is_in_its_own_time_zone() -> None:
    window = load_settings({"TRADING_TIMEZONE": "Europe/Berlin"}).trading_window

    assert window.timezone == ZoneInfo("Europe/Berlin")
    assert (window.start, window.end) == (time(9, 30), time(16, 0))


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    assert complaint(TRADING_START_TIME="16:00", TRADING_END_TIME="09:30") == (
        "TRADING_START_TIME must be before TRADING_END_TIME"
    )


LIVE = {"ALPACA_BASE_URL": "https://api.alpaca.markets", "ALPACA_PAPER_TRADING": "false"}


def test_live_trading_needs_both_switches_and_the_live_address() -> None:
    assert (
        load_settings({**LIVE, "ALPACA_LIVE_CONFIRMED": "real-money"}).alpaca_paper_trading is False
    )
    assert "ALPACA_LIVE_CONFIRMED=real-money" in complaint(**LIVE)
    assert "ALPACA_LIVE_CONFIRMED=real-money" in complaint(**LIVE, ALPACA_LIVE_CONFIRMED="yes")


def test_an_address_that_contradicts_the_switch_is_refused_either_way() -> None:
    assert "points at live trading" in complaint(ALPACA_BASE_URL="https://api.alpaca.markets")
    assert "is the paper venue" in complaint(
        ALPACA_PAPER_TRADING="false", ALPACA_LIVE_CONFIRMED="real-money"
    )


def test_a_missing_setting_is_named_with_the_mend() -> None:
    settings = load_settings({"ALPACA_API_KEY": "key"})

    settings.require("alpaca_api_key")
    with pytest.raises(
        Misconfigured, match=r"missing setting ALPACA_SECRET_KEY, TRADING_SYMBOLS: .*\.env"
    ):
        settings.require("alpaca_api_key", "alpaca_secret_key", "trading_symbols")


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).log_level = "DEBUG"  # type: ignore[misc]  # what is tested


def test_paths_are_paths_and_a_clock_file_is_absent_by_default() -> None:
    assert Settings.model_fields["clock_file"].default is None
    assert load_settings({"CLOCK_FILE": "/tmp/clock"}).clock_file == Path("/tmp/clock")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALPACA_BASE_URL", "paper-api.alpaca.markets"),
        ("ALPACA_BASE_URL", "https://paper-api.alpaca.markets/v2"),
        ("ALPACA_BASE_URL", "http://paper-api.alpaca.markets"),
        ("ALPACA_BASE_URL", "https://key:secret@paper-api.alpaca.markets"),
        ("GOTIFY_URL", "gotify.example:8080"),
        ("GOTIFY_URL", "http://[::1"),
        ("STRATEGY_PARAMS", "short_window"),
        ("STRATEGY_PARAMS", "a=1,a=2"),
    ],
)
def test_an_address_or_parameter_list_that_is_none_is_refused_by_name(
    name: str, value: str
) -> None:
    with pytest.raises(Misconfigured, match=name):
        load_settings({name: value})


def test_an_address_is_taken_with_or_without_its_last_stroke() -> None:
    settings = load_settings({"ALPACA_BASE_URL": "https://paper-api.alpaca.markets/"})

    assert settings.alpaca_base_url == "https://paper-api.alpaca.markets"
