"""How is the simulator told to go on, and what does its book say?

The client of its admin endpoints. Everything asked is safe to ask again, so a lost answer, or a simulator
that is just being restarted, is waited out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx

from shared.domain.errors import StateMismatch, Unavailable
from trader.replay.rest import BookLine, Phase, Step


@dataclass(frozen=True, slots=True)
class VenueState:
    """What is replayed, and how far it has come."""

    source: str
    account: str
    step: int
    steps_total: int | None
    revision: int
    finished: bool
    timeframe: str
    symbols: tuple[str, ...]
    venue_at: datetime
    equity: Decimal


class SimulatedVenue:
    """The simulator's admin endpoints."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """`http` has the simulator's base URL and its admin token."""
        self._http = http

    async def state(self) -> VenueState:
        """What is replayed, and how far."""
        found = await self._ask("GET", "/admin/state")
        return VenueState(
            source=found["source"],
            account=found["account"],
            step=int(found["step"]),
            steps_total=None if found["steps_total"] is None else int(found["steps_total"]),
            revision=int(found["revision"]),
            finished=bool(found["finished"]),
            timeframe=found["timeframe"],
            symbols=tuple(found["symbols"]),
            venue_at=datetime.fromisoformat(found["venue_at"]),
            equity=Decimal(str(found["equity"])),
        )

    async def advance(self, number: int) -> Step:
        """Perform step `number`; again, it answers the same."""
        found = await self._ask("POST", "/admin/advance", {"step": number})
        return Step(
            number=int(found["step"]),
            phase=Phase(found["phase"]),
            venue_at=datetime.fromisoformat(found["venue_at"]),
            instant_at=datetime.fromisoformat(found["instant_at"]),
            finished=bool(found["finished"]),
        )

    async def changes(self, after: int) -> tuple[int, dict[str, BookLine]]:
        """The newest revision, and the state of every order that changed after revision `after`."""
        found = await self._ask("GET", f"/admin/changes?after={after}")
        lines = {
            order["id"]: BookLine(
                order["status"], Decimal(str(order["filled_qty"])), int(order["fills"])
            )
            for order in found["orders"]
        }
        return int(found["revision"]), lines

    async def book(self) -> dict[str, Any]:
        """Everything the venue has booked."""
        book: dict[str, Any] = await self._ask("GET", "/admin/book")
        return book

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Unavailable(f"the simulator gave no answer: {type(error).__name__}") from error
        if response.status_code == httpx.codes.CONFLICT:
            raise StateMismatch(f"the simulator refused to go on: {response.text[:200]}")
        if not response.is_success:
            raise Unavailable(f"the simulator answered {response.status_code} to {method} {path}")
        return response.json()
