"""May a quarantined bar come in because a person says so?

Its provider's own words are read again. What contradicts itself stays out whoever asks; what was only unlikely comes
in, into the store alone: nothing was decided on it, and nothing will be decided on it later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import orjson

from data_collector.boundary import RawBar, admit
from data_collector.ports import Reject
from shared.domain.bars import Bar
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidInput
from shared.domain.timeframes import Timeframe

# How each provider's words become a bar's.
Readers = Mapping[str, Callable[[object, object, Timeframe], RawBar]]


def released_bar(reject: Reject, readers: Readers, calendar: TradingCalendar, now: datetime) -> Bar:
    """The bar as it will be stored.

    Raises:
        InvalidInput: it can be none; the sentence says why.
    """
    read = readers.get(reject.provider)
    try:
        said = orjson.loads(reject.raw)
    except orjson.JSONDecodeError:
        said = None
    if read is None or not isinstance(said, dict):
        raise InvalidInput(f"the words of {reject.provider} were not kept whole; fetch it anew")
    row = read(reject.symbol, said, reject.timeframe)
    admitted = admit([row], reject.timeframe, calendar, now, vouched_for=True)
    if admitted.refused:
        raise InvalidInput(f"it can never come in: {admitted.refused[0].reason}")
    if not admitted.bars:
        raise InvalidInput("it lies outside of the session")
    return admitted.bars[0]
