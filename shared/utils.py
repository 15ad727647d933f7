"""Names that several services use daily, from where they live. Defines nothing itself."""

from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.ids import client_order_id, signal_id
from shared.domain.money import from_micros, parse_price, plain, to_cents, to_micros
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import parse_timeframe

__all__ = [
    "client_order_id",
    "from_epoch_us",
    "from_micros",
    "parse_price",
    "parse_symbol",
    "parse_timeframe",
    "plain",
    "signal_id",
    "to_cents",
    "to_epoch_us",
    "to_micros",
]
