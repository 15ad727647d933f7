"""What do the routes lean on?"""

from __future__ import annotations

from dataclasses import dataclass, field

from data_collector.jobs import CollectionJobs
from data_collector.maintenance import Maintenance
from data_collector.paying import StoredBudget
from data_collector.ports import CollectedBars, Journal, NewestSource
from data_collector.releasing import Readers
from data_collector.screening import Screening, Universe
from data_collector.service import Collector
from shared.ports import ActionStore, Clock, LatestBars


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the routes lean on."""

    account: str
    collector: Collector
    jobs: CollectionJobs
    store: CollectedBars
    newest: LatestBars
    journal: Journal
    clock: Clock
    actions: ActionStore
    maintenance: Maintenance
    provider: NewestSource
    budgets: tuple[StoredBudget, ...] = ()
    readers: Readers = field(default_factory=dict)
    universe: Universe | None = None
    screening: Screening | None = None
