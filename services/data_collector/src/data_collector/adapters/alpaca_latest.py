"""How are the newest bars, and the state of a share as a whole, read from Alpaca?

For whoever asks once; what is followed comes by the stream. A symbol without an answer is one that Alpaca does not
know, or that has never traded: it is missing, and that is no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_collector.adapters.alpaca_data import PROVIDER, SYMBOLS_PER_REQUEST, VENUE, AlpacaData
from data_collector.adapters.alpaca_history import raw_bar
from data_collector.boundary import RawBar
from shared.domain.errors import Unavailable
from shared.domain.symbols import Symbol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The bars of a symbol's snapshot; each may be missing."""

    symbol: Symbol
    minute: RawBar | None
    day: RawBar | None
    day_before: RawBar | None


class AlpacaLatest:
    """The newest of many symbols."""

    def __init__(self, data: AlpacaData, *, feed: str | None) -> None:
        """`feed`: which tape to ask for, None for the best that the plan has."""
        self._data = data
        self._feed = feed

    @property
    def provider(self) -> str:
        """See `NewestSource`."""
        return PROVIDER

    async def bars(self, symbols: Sequence[Symbol]) -> list[RawBar]:
        """See `NewestSource`."""
        found = []
        for said in await self._ask("/v2/stocks/bars/latest", symbols, "newest bars"):
            bars = said.get("bars")
            if not isinstance(bars, dict):
                raise Unavailable(f"{VENUE} answered without the newest bars")
            found += [raw_bar(symbol, bar) for symbol, bar in bars.items()]
        return found

    async def snapshots(self, symbols: Sequence[Symbol]) -> list[Snapshot]:
        """What is newest of each symbol that Alpaca knows."""
        wanted = frozenset(symbols)
        found = []
        for said in await self._ask("/v2/stocks/snapshots", symbols, "snapshots"):
            for symbol, parts in said.items():
                # No wrapper: whatever is no symbol that was asked for is somebody else's key.
                if symbol in wanted and isinstance(parts, dict):
                    minute, day, before = (
                        _part(symbol, parts.get(name))
                        for name in ("minuteBar", "dailyBar", "prevDailyBar")
                    )
                    found.append(Snapshot(Symbol(symbol), minute, day, before))
        return found

    async def known(self, symbols: Sequence[Symbol]) -> frozenset[Symbol]:
        """See `Assets`."""
        return frozenset(each.symbol for each in await self.snapshots(symbols))

    async def _ask(
        self, path: str, symbols: Sequence[Symbol], what: str
    ) -> list[Mapping[str, Any]]:
        answers: list[Mapping[str, Any]] = []
        for at in range(0, len(symbols), SYMBOLS_PER_REQUEST):
            query = {"symbols": ",".join(symbols[at : at + SYMBOLS_PER_REQUEST])}
            if self._feed is not None:
                query["feed"] = self._feed
            said = await self._data.get(path, query, what)
            if not isinstance(said, dict):
                raise Unavailable(f"{VENUE} answered without {what}")
            answers.append(said)
        return answers


def _part(symbol: str, bar: object) -> RawBar | None:
    return None if bar is None else raw_bar(symbol, bar)
