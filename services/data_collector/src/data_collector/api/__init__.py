"""The collector's own HTTP routes: what is collected, how old it is, and fetching more."""

from __future__ import annotations

from fastapi import APIRouter

from data_collector.api.bars import add_bars
from data_collector.api.figures import CollectorFigures
from data_collector.api.quality import add_quality
from data_collector.api.rooms import Rooms
from data_collector.api.state import add_state
from data_collector.api.universe import add_universe
from data_collector.api.work import add_work

__all__ = ["CollectorFigures", "Rooms", "router"]


def router(rooms: Rooms) -> APIRouter:
    """All routes of the collector beside those every service has."""
    routes = APIRouter(tags=["market data"])
    for add in (add_state, add_bars, add_quality, add_universe, add_work):
        add(routes, rooms)
    return routes
