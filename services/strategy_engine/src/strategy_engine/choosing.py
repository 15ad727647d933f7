"""Which strategy do the settings mean, and may it trade live?

Asked by the service when it starts and by whoever checks settings before, so that both give the same sentence.
"""

from __future__ import annotations

from shared.config import Settings
from shared.domain.errors import InvalidInput, Misconfigured
from strategy_engine.catalogue import Catalogue
from strategy_engine.parameters import UnknownName, read_assignments
from strategy_engine.strategy import Strategy

# Values kept per figure; at six figures of eight bytes this is some 960 MB.
_MOST_VALUES = 20_000_000


def chosen_strategy(settings: Settings, catalogue: Catalogue) -> Strategy:
    """The strategy that the settings name, with their parameters.

    Raises:
        Misconfigured: no such strategy or parameter, one that opens short positions where the owner's switch is off, or
            more bars than memory should hold.
    """
    try:
        kind = catalogue.find(settings.strategy_name)
    except UnknownName as error:
        raise Misconfigured(f"STRATEGY_NAME: {error}") from None
    try:
        strategy = kind(**read_assignments(settings.strategy_params))
    except InvalidInput as error:
        raise Misconfigured(f"STRATEGY_PARAMS: {error}") from None
    if strategy.allows_shorts and not settings.risk_allow_short:
        # Refused as a whole there, such a wish would leave the long position open that it means to close.
        raise Misconfigured(
            "STRATEGY_PARAMS: short positions need two switches, allow_short=true here and RISK_ALLOW_SHORT=true; "
            "set the second, or allow_short=false"
        )
    if strategy.bars_needed * len(settings.trading_symbols) > _MOST_VALUES:
        raise Misconfigured(
            f"STRATEGY_PARAMS: {strategy.bars_needed} bars of {len(settings.trading_symbols)} symbols "
            f"pass {_MOST_VALUES} values; use a shorter window or fewer TRADING_SYMBOLS"
        )
    return strategy
