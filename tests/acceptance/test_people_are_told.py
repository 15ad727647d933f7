"""On a live stack each event arrives at the receiver, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.domain.calendar import NEW_YORK
from shared.domain.notices import Event
from tests.acceptance.replaying import replaying
from trader.replay.rest import Phase, Step
from trader.replay.session import Replay, ReplayPlan
from trader.runtime.instance import SIMULATOR
from trader.runtime.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.prove, pytest.mark.timeout(900)]
SETTINGS = {
    "NOTIFY_EVENTS": "fill=on",
    "STRATEGY_PARAMS": "short_window=1,long_window=2",
    "RISK_STOP_LOSS": "0.01",
    "RISK_TAKE_PROFIT": "0.5",
    "RISK_MAX_CORRELATION": "1",
    "RISK_CORRELATION_BARS": "14",
}
DAYS, MINUTES = ("2026-01-05", "2026-01-06", "2026-01-07"), 12
# The receiver is looked at by a notifier that looks every two seconds, and asks for limits twice a minute.
TOLD_WITHIN_S = 90.0


def three_symbols_over_three_days(file: Path) -> None:
    """DOWN rises for two minutes and then crashes through its stop; UP rises when that is over, and goes on; CALM only falls."""
    lines = ["timestamp,symbol,open,high,low,close,volume"]
    prices = {"CALM": 80.0, "DOWN": 100.0, "UP": 50.0}
    for day, on in enumerate(DAYS):
        for minute in range(MINUTES):
            at = datetime.fromisoformat(f"{on}T09:30").replace(tzinfo=NEW_YORK)
            at += timedelta(minutes=minute)
            for symbol, opens in prices.items():
                crashes = symbol == "DOWN" and (day, minute) == (0, 4)
                falls = (day, minute) < (0, 2 if symbol == "DOWN" else 8)
                falls = falls or symbol == "CALM" or (symbol == "DOWN" and (day, minute) > (0, 4))
                close = opens * (0.975 if crashes else 0.999 if falls else 1.002)
                high, low = max(opens, close) + 0.01, min(opens, close) - 0.01
                lines.append(f"{at.isoformat()},{symbol},{opens:.2f},{high:.2f},{low:.2f},{close:.2f},900000")  # fmt: skip
                prices[symbol] = close
    file.write_text("\n".join(lines) + "\n")


class Account:
    """Somebody who acts by HTTP, and the receiver's list of messages."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.instance = replay.stack.instance
        self.admin = {"Authorization": f"Bearer {self.instance.settings['API_TOKEN_ADMIN']}"}

    def post(self, service: str, path: str, body: Any = None, key: str | None = None) -> Any:
        headers = {**self.admin, **({"Idempotency-Key": key} if key else {})}
        url = f"{self.instance.url_of(service)}{path}"
        answer = httpx.post(url, json=body or {}, headers=headers, timeout=60, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, service: str, path: str) -> Any:
        url = f"{self.instance.url_of(service)}{path}"
        answer = httpx.get(url, headers=self.admin, timeout=60, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def venue(self, method: str, path: str, body: Any = None) -> None:
        token = self.instance.settings["SIMULATOR_ADMIN_TOKEN"]
        url = f"{self.instance.url_of(SIMULATOR)}{path}"
        headers = {"Authorization": f"Bearer {token}"}
        httpx.request(
            method, url, json=body, headers=headers, timeout=60, trust_env=False
        ).raise_for_status()

    def titles(self) -> list[str]:
        url = f"{self.instance.url_of(SIMULATOR)}/message?limit=200"
        answer = httpx.get(
            url, headers={"X-Gotify-Key": "simulated-application"}, timeout=60, trust_env=False
        )
        return [each["title"] for each in answer.json()["messages"]]

    def require_told(self, beginning: str) -> None:
        def is_there() -> bool:
            return any(title.startswith(beginning) for title in self.titles())

        assert wait_until(is_there, TOLD_WITHIN_S), (beginning, self.titles())

    def order(self, symbol: str, key: str) -> None:
        """Give an order, whatever becomes of it."""
        body = {"symbol": symbol, "side": "buy", "qty": "1", "type": "market"}
        headers = {**self.admin, "Idempotency-Key": key}
        url = f"{self.instance.url_of('trade_executor')}/orders"
        httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)


def after_bars(count: int, replay: Replay) -> Any:
    """Whether a step closed so many bars."""

    def is_over(step: Step) -> bool:
        return step.phase is Phase.CLOSE and replay.instants >= count

    return is_over


def test_each_event_arrives_at_the_receiver_and_only_once(tmp_path: Path) -> None:
    three_symbols_over_three_days(tmp_path / "bars.csv")

    async def scenario() -> None:
        plan = ReplayPlan(bars=tmp_path / "bars.csv")
        async with replaying(tmp_path / "home", plan, SETTINGS) as replay:
            await replay.run(until=after_bars(MINUTES - 1, replay))
            somebody = Account(replay)
            await asyncio.to_thread(the_day_goes_wrong, somebody)
            await replay.run(until=after_bars(MINUTES, replay))
            # A dead service is told when it is found dead twice, and the venue's clock must move between.
            await asyncio.to_thread(the_strategy_engine_dies, somebody)
            await replay.run(until=lambda step: step.phase is Phase.OPEN)
            await asyncio.to_thread(the_night_is_told, somebody)
            rows = await replay.truth.latest(
                "SELECT event, key, state, tries FROM scheduler.v_notices WHERE account = :account"
            )
            assert {row.event for row in rows} == {event.value for event in Event}
            assert {row.state for row in rows} == {"SENT"}
            assert max(Counter((row.event, row.key) for row in rows).values()) == 1
            assert len(somebody.titles()) == len(rows)

    asyncio.run(scenario())


def the_day_goes_wrong(account: Account) -> None:
    """Everything that can be told of while a session lasts."""
    account.require_told("Filled: buy")
    account.require_told("Stop hit: DOWN")
    account.post("risk_manager", "/risk/reduce", {"reason": "a test"})
    account.require_told("Trading is REDUCING")
    version = account.get("risk_manager", "/risk/mode")["version"]
    account.post("risk_manager", "/risk/resume", {"reason": "a test", "version": version})

    refusal = '{"code": 40310000, "message": "insufficient buying power"}'
    fault = {"kind": "status", "status": 403, "body": refusal}
    account.venue("POST", "/admin/faults", {**fault, "match": {"method": "POST", "path": "/v2/orders"}})  # fmt: skip
    account.order("CALM", "refused")
    account.require_told("Order refused by the broker: CALM")

    lost = {"kind": "lose_reply", "match": {"method": "POST", "path": "/v2/orders"}}
    silent = {"kind": "status", "count": 10_000, "match": {"method": "GET", "path": "/v2/orders*"}}
    account.venue("POST", "/admin/faults", silent)
    # The stream would say at once what became of it.
    account.venue("POST", "/admin/faults", {"kind": "drop_event", "count": 1_000})
    account.venue("POST", "/admin/faults", lost)
    account.order("CALM", "lost")
    account.require_told("Order of unknown outcome: CALM")
    account.venue("DELETE", "/admin/faults")

    bought = {"symbol": "UP", "side": "buy", "qty": "3", "type": "market", "time_in_force": "day"}
    account.venue("POST", "/admin/trade", bought)
    account.post("trade_executor", "/reconcile")
    account.require_told("Difference with the broker")

    limits = account.get("risk_manager", "/risk/limits")
    used = account.get("risk_manager", "/risk/portfolio")["gross_exposure_ratio"]
    change = {"max_gross_exposure": round(used / 0.9, 4)}
    body = {"changes": change, "version": limits["version"], "reason": "a test"}
    account.post("risk_manager", "/risk/limits", body)
    account.require_told("Gross exposure at 9")

    busy = {"kind": "status", "status": 429, "count": 50, "match": {"method": "GET", "path": "/v2/stocks/*"}}  # fmt: skip
    account.venue("POST", "/admin/faults", busy)
    history = {"symbols": ["UP"], "timeframe": "1Day", "start": "2025-12-01"}
    account.post("data_collector", "/collect/market-data", history, "history")
    account.require_told("alpaca gives nothing now")
    account.venue("DELETE", "/admin/faults")


def the_strategy_engine_dies(account: Account) -> None:
    """It is found to be dead once."""
    account.replay.stack.stop_programs(["strategy_engine"])
    account.post("scheduler", "/jobs/service_health/trigger", key="one")

    def is_known() -> bool:
        found = account.get("scheduler", "/services")["items"]
        return any(s["service"] == "strategy_engine" and not s["alive"] for s in found)

    assert wait_until(is_known, TOLD_WITHIN_S)


def the_night_is_told(account: Account) -> None:
    """What became due between two sessions, and the service that is still dead."""
    account.post("scheduler", "/jobs/service_health/trigger", key="two")
    account.require_told("The strategy engine is down")
    account.require_told("2026-01-05:")
    account.require_told("Job ")
