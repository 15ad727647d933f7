"""The glossary: every domain name in one place. Defines nothing itself."""

from shared.domain.bar_blocks import BarBlock
from shared.domain.bars import Bar
from shared.domain.calendar import Phase, Session, TradingCalendar, TradingWindow
from shared.domain.decisions import (
    Approved,
    Check,
    Purpose,
    Refused,
    Review,
    TradingMode,
)
from shared.domain.ledger import Fill, Position
from shared.domain.orders import (
    Execution,
    IntentState,
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from shared.domain.signals import Direction, Evaluation, ManualOrder, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

__all__ = [
    "Approved",
    "Bar",
    "BarBlock",
    "Check",
    "Direction",
    "Evaluation",
    "Execution",
    "Fill",
    "IntentState",
    "ManualOrder",
    "OrderClass",
    "OrderRequest",
    "OrderStatus",
    "OrderType",
    "Phase",
    "Position",
    "Purpose",
    "Refused",
    "Review",
    "Session",
    "Side",
    "Signal",
    "Symbol",
    "TimeInForce",
    "Timeframe",
    "TradingCalendar",
    "TradingMode",
    "TradingWindow",
]
