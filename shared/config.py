"""Which settings exist, what may they be, and where did each come from?

Exactly the specification's environment variables plus ours beside them; strict, typed, unknown keys
under our prefixes refused with a suggestion. Services read the process environment only: who starts
them (the local runtime, Compose) hands each one what it needs. Nothing here connects to anything.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared import setting_values
from shared.domain.calendar import TradingWindow
from shared.domain.errors import InvalidSymbol, Misconfigured
from shared.domain.notices import Event, Manner
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from shared.storage import Access, Bucket, BucketAddress, Place, is_bucket

PAPER_HOST = "paper-api.alpaca.markets"
LIVE_HOST = "api.alpaca.markets"
# Keys that start like ours but are no setting are typing errors that would silently not count.
OUR_PREFIXES = (
    "ALPACA_",
    "API_TOKEN_",
    "DASHBOARD_",
    "DB_",
    "EXECUTION_",
    "FINVIZ_",
    "GOTIFY_",
    "NOTIFY_",
    "REDIS_",
    "RETENTION_",
    "RISK_",
    "STRATEGY_",
    "TRADING_",
    "TWELVE_DATA_",
)
# Handed to processes by the runtime, or read by tools; not settings of the services.
_NOT_SETTINGS = frozenset({"TRADING_HOME"})

# What a running service may be told anew; everything else is read once, at its start.
LIVE_SETTINGS = ("log_level", "notify_events", "notify_quiet_hours", "api_read_only")

Fraction = Annotated[float, Field(gt=0, le=1)]
ScaleOutGain = Annotated[float, Field(gt=0, le=100)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Every setting of every process; each reads the few it needs."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # Broker and market data. Only the executor is handed the trading pair.
    alpaca_api_key: SecretStr | None = None
    alpaca_secret_key: SecretStr | None = None
    alpaca_base_url: str = f"https://{PAPER_HOST}"
    alpaca_paper_trading: bool = True
    alpaca_live_confirmed: str = ""
    # Of the kill command alone, so that it works when the main pair does not; without it the main pair.
    alpaca_kill_api_key: SecretStr | None = None
    alpaca_kill_secret_key: SecretStr | None = None
    alpaca_data_api_key: SecretStr | None = None
    alpaca_data_secret_key: SecretStr | None = None
    alpaca_data_url: str = "https://data.alpaca.markets"
    alpaca_data_stream_url: str = "wss://stream.data.alpaca.markets/v2/iex"
    alpaca_requests_per_minute: Annotated[int, Field(ge=1, le=10_000)] = 200
    twelve_data_api_key: SecretStr | None = None
    twelve_data_url: str = "https://api.twelvedata.com"
    # Of the free plan; paid ones have no bound of a day, and any high number says so.
    twelve_data_credits_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 8
    twelve_data_credits_per_day: Annotated[int, Field(ge=1, le=1_000_000_000)] = 800
    # How far the closes of two providers may be apart before a symbol is held.
    cross_check_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    cross_check_range_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.03
    # One venue's tape may hold a hundredth of the market's volume.
    cross_check_volume_times: Annotated[float, Field(gt=1, le=1_000_000)] = 500.0
    finviz_api_key: SecretStr | None = None
    finviz_url: str = "https://elite.finviz.com"
    # For how long after its screen a symbol is followed.
    finviz_ttl_s: Annotated[int, Field(ge=600, le=30 * 86_400)] = 86_400
    # A preset's name, or filter codes separated by commas.
    finviz_screen: str = "small_caps"
    gotify_url: str | None = None
    gotify_token: SecretStr | None = None
    # Any other receivers, as apprise writes them, with blanks between; they hold tokens.
    notify_urls: SecretStr | None = None
    # `fill=on,digest=off`: what is told aloud, without a sound, or not; see `shared.domain.notices`.
    notify_events: Annotated[tuple[tuple[Event, Manner], ...], NoDecode] = ()
    # `22:00-07:00` in TRADING_TIMEZONE: what can wait is told when they are over.
    notify_quiet_hours: Annotated[str, Field(pattern=r"^(\d\d:\d\d-\d\d:\d\d)?$")] = ""
    # A folder with a text per event, `stop_hit.txt`; its first line is the title.
    notify_templates: Path | None = None
    # Where traces go, as OpenTelemetry's own tools call it; none are made without it.
    otel_exporter_otlp_endpoint: str | None = None

    # Where truth and transport live.
    db_host: str = "127.0.0.1"
    db_port: Port = 5433
    db_name: str = "trading"
    db_user: str = "trading"
    db_password: SecretStr | None = None
    # Of the role that may read all and change nothing; handed to the scheduler alone.
    db_backup_password: SecretStr | None = None
    redis_host: str = "127.0.0.1"
    redis_port: Port = 6380
    redis_password: SecretStr | None = None

    # Limits of risk; fractions of equity unless said otherwise.
    risk_max_position_size: Fraction = 0.05
    risk_max_portfolio_risk: Fraction = 0.02
    risk_drawdown_limit: Fraction = 0.15
    risk_max_daily_trades: Annotated[int, Field(ge=1, le=10_000)] = 50
    risk_max_correlation: Fraction = 0.9
    risk_correlation_bars: Annotated[int, Field(ge=10, le=2_000)] = 60
    risk_stop_loss: Annotated[float, Field(gt=0, lt=1)] = 0.05
    risk_take_profit: Annotated[float, Field(gt=0, le=10)] = 0.10
    risk_max_signal_age_bars: Annotated[int, Field(ge=1, le=100)] = 2
    # How large a wish is before any limit; the methods are those of `risk_manager.sizing`.
    risk_sizing_method: Literal[
        "fixed_fraction", "risk_per_trade", "volatility_target", "atr", "kelly"
    ] = "fixed_fraction"
    risk_sizing_fraction: Fraction = 1.0
    risk_per_trade: Fraction = 0.005
    risk_volatility_target: Fraction = 0.02
    risk_atr_bars: Annotated[int, Field(ge=2, le=2_000)] = 14
    risk_atr_multiple: Annotated[float, Field(gt=0, le=100)] = 2.0
    risk_kelly_share: Fraction = 0.5
    risk_kelly_cap: Fraction = 0.1
    risk_scale_by_conviction: bool = False
    # Gross and net are multiples of equity, since margin accounts may pass 1.
    risk_max_gross_exposure: Annotated[float, Field(gt=0, le=4)] = 1.0
    risk_max_net_exposure: Annotated[float, Field(gt=0, le=4)] = 1.0
    risk_max_sector_exposure: Fraction = 0.3
    # `AAPL=technology,XOM=energy`; a symbol that is not named belongs to no sector.
    risk_sectors: Annotated[tuple[tuple[str, str], ...], NoDecode] = ()
    risk_max_strategy_exposure: Fraction = 1.0
    # `moving_average=0.5`: the share of equity a strategy may bind; without a bucket all of it.
    risk_strategy_capital: Annotated[tuple[tuple[str, Fraction], ...], NoDecode] = ()
    risk_max_positions: Annotated[int, Field(ge=1, le=10_000)] = 20
    risk_max_daily_loss: Fraction = 0.05
    risk_flatten_on_breach: bool = False
    # Beside the strategy's own switch: only where both say so is a short position opened.
    risk_allow_short: bool = False
    risk_max_orders_per_minute: Annotated[int, Field(ge=1, le=1_000)] = 60
    risk_max_repeats: Annotated[int, Field(ge=1, le=1_000)] = 10
    risk_repeat_window_s: Annotated[int, Field(ge=1, le=3_600)] = 600
    risk_max_price_deviation: Fraction = 0.2
    risk_max_order_value: Annotated[float, Field(ge=1, le=100_000_000)] = 100_000.0
    risk_max_order_shares: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    risk_max_volume_share: Fraction = 0.05
    risk_cool_down_bars: Annotated[int, Field(ge=0, le=10_000)] = 2
    risk_stop_guard_stops: Annotated[int, Field(ge=1, le=1_000)] = 8
    risk_stop_guard_bars: Annotated[int, Field(ge=1, le=10_000)] = 24
    risk_maintenance_margin: Annotated[float, Field(ge=0.25, le=1)] = 0.25
    risk_pattern_day_trader_rule: bool = False
    # What is done with positions without anybody's wish; 0 or nothing: not at all. Distances from a bar's close.
    risk_trailing_stop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    risk_atr_stop: Annotated[float, Field(ge=0, le=100)] = 0.0
    # `0.05=0.5,0.08=0.25`: at 5 % above the entry's price half of it is sold, at 8 % another quarter.
    risk_scale_out: Annotated[tuple[tuple[ScaleOutGain, Fraction], ...], NoDecode] = ()
    risk_rebalance_band: Annotated[float, Field(ge=0, le=10)] = 0.0
    risk_day_strategies: Annotated[tuple[str, ...], NoDecode] = ()
    risk_flat_before_close_s: Annotated[int, Field(ge=60, le=7_200)] = 600
    risk_benchmark_symbol: Annotated[Symbol, BeforeValidator(setting_values.one_symbol)] = Symbol(
        "SPY"
    )
    risk_halted_symbols: Annotated[tuple[Symbol, ...], NoDecode] = ()

    # What an entry at the market must find: spread and distance from the decision's price as fractions, and seconds.
    execution_max_spread: Annotated[float, Field(gt=0, le=1)] = 0.01
    execution_collar: Annotated[float, Field(gt=0, le=1)] = 0.05
    execution_max_quote_age_s: Annotated[int, Field(ge=1, le=86_400)] = 60

    # When entries may be sent; narrows the exchange's hours, never widens them.
    trading_start_time: time = time(9, 30)
    trading_end_time: time = time(16, 0)
    trading_timezone: str = "America/New_York"
    # The label under which everything is stored; one per broker account.
    trading_account: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] = "paper"
    trading_symbols: Annotated[tuple[Symbol, ...], NoDecode] = ()
    trading_timeframe: Annotated[Timeframe, BeforeValidator(setting_values.timeframe)] = (
        Timeframe.MINUTE
    )
    # What the strategies run with, e.g. `short_window=20,long_window=50`.
    strategy_name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "moving_average"
    strategy_params: str = ""

    # How long what can be made again is kept; the ledger is kept for ever.
    retention_bars_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    retention_logs_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    retention_backups: Annotated[int, Field(ge=1, le=1_000)] = 14

    # This machine. Market history may lie in a bucket as well: s3://name/prefix, with the keys below.
    data_dir: Annotated[Path | BucketAddress, BeforeValidator(setting_values.place)] = Path(
        "data/parquet"
    )
    # What a machine keeps for itself where history is in a bucket: sessions, and the turns of its writers.
    cache_dir: Path = Path("data/parquet")
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = "us-east-1"
    # Of another store than Amazon's.
    aws_endpoint_url: str | None = None
    log_dir: Path = Path("data/logs")
    backup_dir: Path = Path("data/backups")
    # Written by `trader kill`; while it exists nothing is sent.
    halt_file: Path = Path("data/control/halt")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Set in replays: the venue's time, written by the simulator. Absent: the machine's clock.
    clock_file: Path | None = None
    api_host: str = "127.0.0.1"
    # In Compose each service is a host of its own name; on one machine all are this one.
    api_peers_by_name: bool = False
    # Maintenance: services answer, and refuse every change but a halt.
    api_read_only: bool = False
    api_token_read: SecretStr | None = None
    api_token_operate: SecretStr | None = None
    api_token_kill: SecretStr | None = None
    api_token_admin: SecretStr | None = None
    dashboard_port: Port = 8000
    dashboard_session_s: Annotated[int, Field(ge=10, le=604_800)] = 43_200
    data_collector_port: Port = 8001
    strategy_engine_port: Port = 8002
    risk_manager_port: Port = 8003
    trade_executor_port: Port = 8004
    scheduler_port: Port = 8005
    simulator_port: Port = 8006

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {key: setting_values.strip_comment(value) for key, value in values.items()}
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: object, info: ValidationInfo) -> object:
        is_number = cls.model_fields[info.field_name or ""].annotation in (int, float)
        return setting_values.plain_number(value) if is_number and isinstance(value, str) else value

    @field_validator("trading_symbols", "risk_halted_symbols", mode="before")
    @classmethod
    def _symbols(cls, value: object) -> object:
        if isinstance(value, str):
            names = [name.strip() for name in value.split(",") if name.strip()]
            try:
                return tuple(dict.fromkeys(parse_symbol(name) for name in names))
            except InvalidSymbol as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("risk_sectors", mode="before")
    @classmethod
    def _sectors(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return tuple(
                    (parse_symbol(name), sector) for name, sector in setting_values.pairs(value)
                )
            except InvalidSymbol as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("risk_scale_out")
    @classmethod
    def _at_most_all_of_it(
        cls, value: tuple[tuple[float, float], ...]
    ) -> tuple[tuple[float, float], ...]:
        if sum(share for _, share in value) > 1.0 + 1e-9:
            raise ValueError("the shares sold at its targets add up to more than the whole entry")
        return value

    @field_validator("risk_day_strategies", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        return value

    @field_validator("notify_events", mode="before")
    @classmethod
    def _events(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = setting_values.pairs(value)
        for event, manner in pairs:
            if event not in list(Event) or manner not in list(Manner):
                raise ValueError(
                    f"{event}={manner} is no event with on, silent or off; events are {', '.join(Event)}"
                )
        return pairs

    @field_validator("notify_quiet_hours")
    @classmethod
    def _hours(cls, value: str) -> str:
        try:
            [time.fromisoformat(part) for part in value.split("-") if part]
        except ValueError:
            raise ValueError("write local times like 22:00-07:00") from None
        return value

    @field_validator("risk_strategy_capital", mode="before")
    @classmethod
    def _buckets(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(
                (name, setting_values.plain_number(share))
                for name, share in setting_values.pairs(value)
            )
        return value

    @field_validator("risk_scale_out", mode="before")
    @classmethod
    def _targets(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(
                tuple(map(setting_values.plain_number, pair))
                for pair in setting_values.pairs(value)
            )
        return value

    @field_validator("risk_strategy_capital")
    @classmethod
    def _not_more_than_all(
        cls, value: tuple[tuple[str, float], ...]
    ) -> tuple[tuple[str, float], ...]:
        if sum(share for _, share in value) > 1.0 + 1e-9:
            raise ValueError("the strategies' shares of equity add up to more than 1")
        return value

    @field_validator(
        "alpaca_base_url",
        "alpaca_data_url",
        "twelve_data_url",
        "finviz_url",
        "gotify_url",
        "aws_endpoint_url",
        "otel_exporter_otlp_endpoint",
    )
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known or parts.username or parts.query or parts.fragment:
            raise ValueError("write an address like https://host or http://host:port")
        return value.rstrip("/")

    @field_validator("alpaca_base_url")
    @classmethod
    def _without_version(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.path not in ("", "/"):
            raise ValueError(f"write it without {parts.path}, as {parts.scheme}://{parts.netloc}")
        if parts.hostname in (LIVE_HOST, PAPER_HOST) and parts.scheme != "https":
            raise ValueError(
                "the broker is asked over https:// alone, or the keys would be readable"
            )
        return value

    @field_validator("aws_endpoint_url")
    @classmethod
    def _without_path(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).path:
            raise ValueError("write it without the bucket, which stands in DATA_DIR")
        return value

    @field_validator("strategy_params")
    @classmethod
    def _named_values(cls, value: str) -> str:
        setting_values.pairs(value)
        return value

    @field_validator("trading_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(
                f"{value!r} is not a time zone; use one like America/New_York"
            ) from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.trading_start_time >= self.trading_end_time:
            raise ValueError("TRADING_START_TIME must be before TRADING_END_TIME")
        host = urlsplit(self.alpaca_base_url).hostname or ""
        if host == LIVE_HOST and self.alpaca_paper_trading:
            raise ValueError(
                f"ALPACA_BASE_URL points at live trading but ALPACA_PAPER_TRADING is true; "
                f"use https://{PAPER_HOST}, or go live on purpose with both switches"
            )
        if not self.alpaca_paper_trading and host == PAPER_HOST:
            raise ValueError(
                f"ALPACA_PAPER_TRADING is false but ALPACA_BASE_URL is the paper venue {PAPER_HOST}"
            )
        if not self.alpaca_paper_trading and self.alpaca_live_confirmed != "real-money":
            raise ValueError(
                "live trading also needs ALPACA_LIVE_CONFIRMED=real-money; without it set "
                "ALPACA_PAPER_TRADING=true"
            )
        if self.risk_day_strategies and not self.trading_timeframe.is_intraday:
            raise ValueError(
                "RISK_DAY_STRATEGIES needs bars within the day; "
                f"TRADING_TIMEFRAME is {self.trading_timeframe.value}"
            )
        # They leave when a bar ends; within less than a bar's length before the close none but the last may, with the close.
        least_s = int(self.trading_timeframe.length.total_seconds())
        if self.risk_day_strategies and self.risk_flat_before_close_s < least_s:
            raise ValueError(
                f"RISK_FLAT_BEFORE_CLOSE_S={self.risk_flat_before_close_s} is less than a bar of "
                f"TRADING_TIMEFRAME={self.trading_timeframe.value}, so RISK_DAY_STRATEGIES might stay overnight; "
                f"set RISK_FLAT_BEFORE_CLOSE_S={least_s} or more"
            )
        if self.risk_atr_bars > self.risk_correlation_bars:
            raise ValueError(
                f"RISK_ATR_BARS={self.risk_atr_bars} needs as much history; "
                f"RISK_CORRELATION_BARS is {self.risk_correlation_bars}"
            )
        return self

    def url_of(self, service: str) -> str:
        """Where the other services find `service`."""
        host = service if self.api_peers_by_name else "127.0.0.1"
        return f"http://{host}:{getattr(self, f'{service}_port')}"

    @property
    def history(self) -> Place:
        """Where market history lies; `/ account` is one account's.

        Raises:
            Misconfigured: in a bucket, and its keys are not set.
        """
        if isinstance(self.data_dir, Path):
            return self.data_dir
        if self.aws_access_key_id is None or self.aws_secret_access_key is None:
            raise Misconfigured(
                f"DATA_DIR is {self.data_dir}, which needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        token = self.aws_session_token
        access = Access(
            self.aws_access_key_id,
            self.aws_secret_access_key.get_secret_value(),
            None if token is None else token.get_secret_value(),
            self.aws_region,
            self.aws_endpoint_url,
        )
        return Bucket(self.data_dir, access, self.cache_dir / "locks")

    @property
    def sessions_dir(self) -> Path:
        """Where this machine keeps the exchange's sessions."""
        return self.data_dir if isinstance(self.data_dir, Path) else self.cache_dir

    @property
    def quiet_hours(self) -> tuple[time, time] | None:
        """From and until when only what cannot wait is told."""
        start, _, end = self.notify_quiet_hours.partition("-")
        return (time.fromisoformat(start), time.fromisoformat(end)) if end else None

    @property
    def finviz_ttl(self) -> timedelta:
        """How long a screened symbol is followed."""
        return timedelta(seconds=self.finviz_ttl_s)

    @property
    def trading_window(self) -> TradingWindow:
        """The local hours in which entries may be sent."""
        return TradingWindow(
            self.trading_start_time, self.trading_end_time, ZoneInfo(self.trading_timezone)
        )

    def require(self, *names: str) -> None:
        """Raise Misconfigured naming each of `names` (field names) that is not set."""
        missing = [name.upper() for name in names if getattr(self, name) in (None, "", ())]
        if missing:
            raise Misconfigured(
                f"missing setting {', '.join(missing)}: set it in .env "
                "(see .env.example), or run `make demo`, which needs none"
            )


def unknown_keys(names: Mapping[str, str]) -> list[str]:
    """One sentence for each name under our prefixes that is no setting, with the likeliest meant."""
    known = {name.upper() for name in Settings.model_fields} | _NOT_SETTINGS
    complaints = []
    for name in sorted(names):
        if name in known or not name.startswith(OUR_PREFIXES):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else "; remove it"
        complaints.append(f"unknown setting {name}{hint}")
    return complaints


def process_environment() -> dict[str, str]:
    """What this process is told: its variables, and above them the lines of SETTINGS_FILE.

    A container is handed its secrets as a file, which no listing of its variables shows.

    Raises:
        Misconfigured: the file cannot be read.
    """
    told = dict(os.environ)
    file = told.pop("SETTINGS_FILE", "")
    if not file:
        return told
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"SETTINGS_FILE {file} cannot be read ({error}); run `make setup`, which makes it"
        ) from None
    pairs = (line.partition("=") for line in lines if "=" in line)
    return told | {name: value for name, _, value in pairs}


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read settings from `environment` (default: the process's own).

    Raises:
        Misconfigured: one sentence naming every wrong setting. A value is repeated only where it
            names something public: a symbol, a timeframe, a time zone.
    """
    source = process_environment() if environment is None else dict(environment)
    complaints = unknown_keys(source)
    values = {
        name: source[name.upper()]
        for name in Settings.model_fields
        if source.get(name.upper(), "") != ""
    }
    try:
        settings = _Explicit(**values)  # type: ignore[arg-type]  # texts; the validators parse them
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            where = str(detail["loc"][0]).upper() if detail["loc"] else "settings"
            text = setting_values.complaint(detail["type"], detail["msg"])
            complaints.append(text if where == "settings" else f"{where}: {text}")
        raise Misconfigured("; ".join(complaints)) from None
    if complaints:
        raise Misconfigured("; ".join(complaints))
    return settings


def history_in(environment: Mapping[str, str], folder: Path) -> Place:
    """The bucket that `environment` names in DATA_DIR, else `folder`.

    Raises:
        Misconfigured: it names another address, or the keys are missing.
    """
    if not is_bucket(environment.get("DATA_DIR", "")):
        return folder
    told = {
        name: value
        for name, value in environment.items()
        if name == "DATA_DIR" or name.startswith("AWS_")
    }
    return load_settings({**told, "CACHE_DIR": str(folder)}).history


class _Explicit(Settings):
    """Settings from given values alone, so that a caller's mapping is not mixed with the process's."""

    @classmethod
    def settings_customise_sources(cls, *_: Any, **kwargs: Any) -> tuple[Any, ...]:
        return (kwargs["init_settings"],)
