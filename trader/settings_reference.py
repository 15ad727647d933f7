"""What does each setting mean, what may it be, and when does a change take effect?

Names, defaults and bounds come from `shared.config`; the words are here. `docs/settings.md` is made from both by `trader
config reference`, and a test holds it to be what would be made now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from shared.config import LIVE_SETTINGS, Settings

HEADER = """# Settings

Made by `trader config reference`; change `shared/config.py` or `trader/settings_reference.py` instead of this page. All settings
are environment variables, read from `.env`. Those marked *live* take effect with `trader config reload`; a service that is
told another has to be started anew (`trader restart`). Limits of risk can also be changed while trading runs, versioned and
audited, by `POST /risk/limits`.
"""
# Which settings stand under which heading, by what their names begin with; the first that fits counts.
GROUPS = {
    "Broker": ("ALPACA_",),
    "Market data": ("TWELVE_DATA_", "FINVIZ_", "CROSS_CHECK_"),
    "Notices": ("GOTIFY_", "NOTIFY_"),
    "What is traded": ("TRADING_", "STRATEGY_"),
    "Risk": ("RISK_",),
    "Execution": ("EXECUTION_",),
    "Retention": ("RETENTION_",),
    "Database and cache": ("DB_", "REDIS_"),
    "Services": ("API_",),
    "This machine": ("",),
}
MEANINGS = {
    "ALPACA_API_KEY": "Key of the trading account; handed to the executor alone.",
    "ALPACA_SECRET_KEY": "Its secret.",
    "ALPACA_BASE_URL": "Where orders go: the paper or the live address, without `/v2`.",
    "ALPACA_PAPER_TRADING": "Must agree with the address; false is the first switch of live trading.",
    "ALPACA_LIVE_CONFIRMED": "`real-money` is the second switch of live trading.",
    "ALPACA_KILL_API_KEY": "Pair of `trader kill` alone, for when the main pair does not work.",
    "ALPACA_KILL_SECRET_KEY": "Its secret.",
    "ALPACA_DATA_API_KEY": "Pair for market data, so that trading keys stay with the executor.",
    "ALPACA_DATA_SECRET_KEY": "Its secret.",
    "ALPACA_DATA_URL": "Where history is asked.",
    "ALPACA_DATA_STREAM_URL": "Where live bars come from; the last part names the feed (iex, sip).",
    "ALPACA_REQUESTS_PER_MINUTE": "What the account's plan allows.",
    "TWELVE_DATA_API_KEY": "With it history comes from Twelve Data first.",
    "TWELVE_DATA_URL": "Where Twelve Data is asked.",
    "TWELVE_DATA_CREDITS_PER_MINUTE": "What the plan allows in a minute.",
    "TWELVE_DATA_CREDITS_PER_DAY": "What the plan allows in a day.",
    "CROSS_CHECK_TOLERANCE": "Closes of two providers further apart than this share hold a symbol.",
    "CROSS_CHECK_RANGE_TOLERANCE": "The same of opens, highs and lows.",
    "CROSS_CHECK_VOLUME_TIMES": "Volumes that differ by more than so many times hold a symbol.",
    "FINVIZ_API_KEY": "With it screens are taken.",
    "FINVIZ_URL": "Where FinViz is asked.",
    "FINVIZ_TTL_S": "Seconds for which a screened symbol is followed.",
    "FINVIZ_SCREEN": "A preset's name, or filter codes separated by commas.",
    "GOTIFY_URL": "A Gotify server that people are told by.",
    "GOTIFY_TOKEN": "Its token.",
    "NOTIFY_URLS": "Other receivers as apprise writes them, with blanks between.",
    "NOTIFY_EVENTS": "Which events are told on, silent or off: `fill=on,digest=off`.",
    "NOTIFY_QUIET_HOURS": "Local hours in which what can wait does: `22:00-07:00`.",
    "NOTIFY_TEMPLATES": "A folder with texts of your own, one file for each event.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where spans are sent over OTLP; without it none are.",
    "DB_HOST": "Where PostgreSQL listens; set by the runtime.",
    "DB_PORT": "Its port.",
    "DB_NAME": "Its database.",
    "DB_USER": "The role that a process logs in with; set by the runtime.",
    "DB_PASSWORD": "The one secret from which each role's password is derived; made by `make setup`.",
    "DB_BACKUP_PASSWORD": "Password of the role that writes backups; derived by the runtime.",
    "REDIS_HOST": "Where Redis listens; set by the runtime.",
    "REDIS_PORT": "Its port.",
    "REDIS_PASSWORD": "Its password; made by `make setup`.",
    "RISK_MAX_POSITION_SIZE": "Largest position, as a share of equity.",
    "RISK_MAX_PORTFOLIO_RISK": "Sum of the distances to all stops, as a share of equity.",
    "RISK_DRAWDOWN_LIMIT": "Below the peak by this share, trading goes to REDUCING.",
    "RISK_MAX_DAILY_TRADES": "Entries in an exchange day.",
    "RISK_MAX_CORRELATION": "Of a new position with any that is held.",
    "RISK_CORRELATION_BARS": "Bars that correlations are reckoned from.",
    "RISK_STOP_LOSS": "Distance of the stop, as a share of the deciding price.",
    "RISK_TAKE_PROFIT": "Distance of the target, as a share of the deciding price.",
    "RISK_MAX_SIGNAL_AGE_BARS": "A signal older than so many bars is refused.",
    "RISK_SIZING_METHOD": "How large a wish is before any limit caps it.",
    "RISK_SIZING_FRACTION": "`fixed_fraction`: share of equity.",
    "RISK_PER_TRADE": "`risk_per_trade`, `atr`: share of equity lost at the stop.",
    "RISK_VOLATILITY_TARGET": "`volatility_target`: a position's annual volatility, of equity.",
    "RISK_ATR_BARS": "Bars of an average true range.",
    "RISK_ATR_MULTIPLE": "`atr`: the stop's distance in true ranges.",
    "RISK_KELLY_SHARE": "`kelly`: share of the full bet.",
    "RISK_KELLY_CAP": "`kelly`: largest share of equity.",
    "RISK_SCALE_BY_CONVICTION": "Whether a wish shrinks with its conviction.",
    "RISK_MAX_GROSS_EXPOSURE": "Long and short together, in multiples of equity.",
    "RISK_MAX_NET_EXPOSURE": "Long less short, in multiples of equity.",
    "RISK_MAX_SECTOR_EXPOSURE": "Share of equity in one sector.",
    "RISK_SECTORS": "Your own map: `AAPL=technology,XOM=energy`.",
    "RISK_MAX_STRATEGY_EXPOSURE": "Share of equity that one strategy may bind.",
    "RISK_STRATEGY_CAPITAL": "Buckets: `moving_average=0.5`.",
    "RISK_MAX_POSITIONS": "Symbols held or on order.",
    "RISK_MAX_DAILY_LOSS": "Lost since the day began, trading goes to REDUCING.",
    "RISK_FLATTEN_ON_BREACH": "Whether everything is sold then.",
    "RISK_ALLOW_SHORT": "Whether short positions may be opened; a strategy needs its own `allow_short` beside it.",
    "RISK_MAX_ORDERS_PER_MINUTE": "Entries in a minute.",
    "RISK_MAX_REPEATS": "Entries of one strategy in one symbol within the window.",
    "RISK_REPEAT_WINDOW_S": "That window, in seconds.",
    "RISK_MAX_PRICE_DEVIATION": "Of an order's price from the last one.",
    "RISK_MAX_ORDER_VALUE": "Largest order in dollars.",
    "RISK_MAX_ORDER_SHARES": "Largest order in shares.",
    "RISK_MAX_VOLUME_SHARE": "Largest order, as a share of an average session's volume.",
    "RISK_COOL_DOWN_BARS": "Bars that a symbol rests after its stop was hit.",
    "RISK_STOP_GUARD_STOPS": "So many stops within the guard's bars end all entries.",
    "RISK_STOP_GUARD_BARS": "The bars of that guard.",
    "RISK_MAINTENANCE_MARGIN": "Share of positions that equity must cover within the day.",
    "RISK_PATTERN_DAY_TRADER_RULE": "Whether the rule that ended in 2026 still counts.",
    "RISK_TRAILING_STOP": "The stop follows each close at this share of the price; 0: not.",
    "RISK_ATR_STOP": "The stop follows each close at so many true ranges; 0: not.",
    "RISK_SCALE_OUT": "`0.05=0.5`: half of an entry is sold 5 % above its price.",
    "RISK_REBALANCE_BAND": "A position so far above its limit is sold down to it; 0: not.",
    "RISK_DAY_STRATEGIES": "Strategies that hold nothing overnight.",
    "RISK_FLAT_BEFORE_CLOSE_S": "Seconds before the close at which those are out; at least a bar of `TRADING_TIMEFRAME`.",
    "RISK_BENCHMARK_SYMBOL": "Betas are measured against it.",
    "RISK_HALTED_SYMBOLS": "Symbols that take no entry.",
    "EXECUTION_MAX_SPREAD": "A wider spread, as a share of the price, lets an entry wait.",
    "EXECUTION_COLLAR": "Share of the price within which an entry at the market may fill.",
    "EXECUTION_MAX_QUOTE_AGE_S": "An older quote counts as none.",
    "TRADING_START_TIME": "Local time from which entries are sent; narrows the exchange's hours.",
    "TRADING_END_TIME": "Local time until which entries are sent.",
    "TRADING_TIMEZONE": "Zone of both, and of quiet hours.",
    "TRADING_ACCOUNT": "The label under which everything of a broker account is stored.",
    "TRADING_SYMBOLS": "What is followed and traded: `AAPL,MSFT`.",
    "TRADING_TIMEFRAME": "Bars that are decided on.",
    "STRATEGY_NAME": "The strategy that runs.",
    "STRATEGY_PARAMS": "Its parameters: `short_window=20,long_window=50`.",
    "RETENTION_BARS_DAYS": "Intraday bars older than this are removed at night; 0 keeps all.",
    "RETENTION_LOGS_DAYS": "Rotated logs older than this are removed at night.",
    "RETENTION_BACKUPS": "Backups of each kind that are kept.",
    "DATA_DIR": "Where market history lies: a folder, or a bucket like `s3://my-bucket/market`.",
    "CACHE_DIR": "Where files of a bucket are kept on this machine.",
    "AWS_ACCESS_KEY_ID": "Key of the bucket that holds market history.",
    "AWS_SECRET_ACCESS_KEY": "Its secret.",
    "AWS_SESSION_TOKEN": "Its session, where keys are lent.",
    "AWS_REGION": "The bucket's region.",
    "AWS_ENDPOINT_URL": "The bucket's server, where it is not Amazon's.",
    "LOG_DIR": "Where logs lie; set by the runtime.",
    "BACKUP_DIR": "Where backups lie; set by the runtime.",
    "HALT_FILE": "While it exists nothing is sent; set by the runtime.",
    "LOG_LEVEL": "The least that is logged.",
    "CLOCK_FILE": "In replays the venue's time; set by the runtime.",
    "API_HOST": "Where services listen; set by the runtime.",
    "API_PEERS_BY_NAME": "Whether services are hosts of their own names; set by the runtime.",
    "API_READ_ONLY": "Maintenance: services answer, and refuse every change but a halt.",
    "API_TOKEN_READ": "Token that may look; made by `make setup`.",
    "API_TOKEN_OPERATE": "Token that may trade and resume; made by `make setup`.",
    "API_TOKEN_KILL": "Token that may look and halt; made by `make setup`.",
    "API_TOKEN_ADMIN": "Token that may change limits and settings; made by `make setup`.",
    "DASHBOARD_PORT": "Port of the dashboard.",
    "DASHBOARD_SESSION_S": "How long a login to the dashboard lasts, however much it is used; unused it ends after half an hour.",
    "DATA_COLLECTOR_PORT": "Port of the data collector.",
    "STRATEGY_ENGINE_PORT": "Port of the strategy engine.",
    "RISK_MANAGER_PORT": "Port of the risk manager.",
    "TRADE_EXECUTOR_PORT": "Port of the trade executor.",
    "SCHEDULER_PORT": "Port of the scheduler.",
    "SIMULATOR_PORT": "Port of the simulator.",
}


def reference() -> str:
    """The page about all settings, in Markdown."""
    allowed: Mapping[str, Any] = Settings.model_json_schema(mode="validation")["properties"]
    rows: dict[str, list[str]] = {heading: [] for heading in GROUPS}
    for name, field in Settings.model_fields.items():
        key = name.upper()
        heading = next(head for head, begins in GROUPS.items() if key.startswith(begins))
        takes = "live" if name in LIVE_SETTINGS else "restart"
        default = _default(field.get_default())
        words = MEANINGS[key]
        rows[heading].append(
            f"| `{key}` | {default} | {_allowed(allowed[name])} | {takes} | {words} |"
        )
    parts = [HEADER]
    for heading, lines in rows.items():
        table = [
            "| setting | default | allowed | change | meaning |",
            "| --- | --- | --- | --- | --- |",
        ]
        parts.append("\n".join([f"## {heading}\n", *table, *lines]) + "\n")
    return "\n".join(parts)


def _default(value: object) -> str:
    if value is None or value in ("", ()) or isinstance(value, SecretStr):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a value may be, from its JSON schema."""
    choices = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    one: Mapping[str, Any] = choices[0] if choices else {}
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    above, least = one.get("exclusiveMinimum"), one.get("minimum")
    below, most = one.get("exclusiveMaximum"), one.get("maximum")
    bounds = [
        f"> {above:g}" if above is not None else "",
        f">= {least:g}" if least is not None else "",
        f"< {below:g}" if below is not None else "",
        f"<= {most:g}" if most is not None else "",
    ]
    kind = {"integer": "whole number", "number": "number", "boolean": "true or false"}.get(
        str(one.get("type")), "text" if one.get("format") != "password" else "secret"
    )
    if one.get("type") == "array":
        kind = "list"
    if one.get("format") == "time":
        kind = "time"
    return " ".join([kind, *(bound for bound in bounds if bound)])
