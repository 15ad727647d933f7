"""How does the scheduler reach the four other services?

By their HTTP APIs on this machine, with the tokens it was handed. Each call has a deadline, and every answer is
read as something that may be wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import date
from typing import Any

import httpx

from scheduler.runs import Budget, Figures, ServiceHealth
from shared.config import Settings
from shared.domain.errors import Misconfigured, Rejected, Unavailable
from shared.ports import Timer

OTHERS = ("data_collector", "strategy_engine", "risk_manager", "trade_executor")
_PROBE_WITHIN_S = 3.0
_CALL_WITHIN_S = 30.0
_LOOK_EVERY_S = 1.0
_MOST_LOOKS = 90
_LONGEST_QUOTE = 200
_LONGEST_SENTENCE = 400
_LONGEST_METRICS = 1_000_000
# What every service's /metrics says of its own process.
_MEMORY, _CPU = "process_resident_memory_bytes", "process_cpu_seconds_total"


class HttpPeers:
    """See `Peers`."""

    def __init__(
        self, http: httpx.AsyncClient, urls: Mapping[str, str], settings: Settings, timer: Timer
    ) -> None:
        """Raises Misconfigured when the token to read or to operate with is missing."""
        if settings.api_token_read is None or settings.api_token_operate is None:
            raise Misconfigured(
                "missing setting API_TOKEN_READ or API_TOKEN_OPERATE: run `make setup`, which makes them"
            )
        self._http = http
        self._urls = dict(urls)
        self._read = _bearer(settings.api_token_read.get_secret_value())
        self._operate = _bearer(settings.api_token_operate.get_secret_value())
        self._timer = timer
        self._cpu: dict[str, tuple[float, float]] = {}

    async def health(self) -> list[ServiceHealth]:
        """See `Peers`."""
        return list(await asyncio.gather(*(self._health_of(service) for service in self._urls)))

    async def _health_of(self, service: str) -> ServiceHealth:
        began_s = self._timer.monotonic_s()
        try:
            async with asyncio.timeout(_PROBE_WITHIN_S):
                alive = await self._http.get(f"{self._urls[service]}/health")
                answered_in_s = self._timer.monotonic_s() - began_s
                if alive.status_code != 200 or _object(alive).get("service") != service:
                    return ServiceHealth(
                        service, False, False, {}, None, f"something else answers: {_quote(alive)}"
                    )
                ready = await self._http.get(f"{self._urls[service]}/ready", headers=self._read)
        except (httpx.HTTPError, TimeoutError) as error:
            why = "no answer in time" if _timed_out(error) else "does not answer"
            return ServiceHealth(service, False, False, {}, None, why)
        said = _object(ready)
        if ready.status_code not in (200, 503) or not isinstance(said.get("checks"), dict):
            return ServiceHealth(service, True, False, {}, answered_in_s, _quote(ready))
        checks = {str(name)[:64]: ok is True for name, ok in list(said["checks"].items())[:32]}
        lacking = ", ".join(name for name, ok in checks.items() if not ok)
        return ServiceHealth(
            service,
            True,
            ready.status_code == 200 and said.get("ready") is True,
            checks,
            answered_in_s,
            f"waits for {lacking}" if lacking else "",
            *await self._usage_of(service),
        )

    async def _usage_of(self, service: str) -> tuple[float | None, int | None]:
        """What a service's process has used of a processor since the last look, and its memory."""
        try:
            async with asyncio.timeout(_PROBE_WITHIN_S):
                answer = await self._http.get(f"{self._urls[service]}/metrics", headers=self._read)
        except (httpx.HTTPError, TimeoutError):
            return None, None
        figures = _figures(answer.text if answer.status_code == 200 else "")
        memory, cpu_s = figures.get(_MEMORY), figures.get(_CPU)
        now_s, share = self._timer.monotonic_s(), None
        if cpu_s is not None:
            before = self._cpu.get(service)
            # A process that was started anew counts from zero again.
            if before is not None and now_s > before[0] and cpu_s >= before[1]:
                share = (cpu_s - before[1]) / (now_s - before[0])
            self._cpu[service] = now_s, cpu_s
        return share, None if memory is None else int(memory)

    async def reconcile(self) -> Figures:
        """See `Peers`."""
        answer = await self._call("POST", "trade_executor", "/reconcile", json={})
        return _small(_object(answer))

    async def performance(self, on: date) -> Figures:
        """See `Peers`."""
        body = {"day_on": on.isoformat()}
        return _small(
            _object(await self._call("POST", "trade_executor", "/performance", json=body))
        )

    async def limits(self) -> list[dict[str, Any]]:
        """See `Peers`."""
        said = _object(await self._call("GET", "risk_manager", "/risk/portfolio"))
        found = said.get("limits")
        return [
            {
                "code": str(each["code"])[:64],
                "limit": float(each["limit"]),
                "usage": float(each["usage"]),
                "text": str(each["text"])[:_LONGEST_QUOTE],
            }
            for each in (found if isinstance(found, list) else [])[:64]
        ]

    async def catch_up(self) -> Figures:
        """See `Peers`."""
        return await self._followed("/collect/market-data")

    async def check_hours(self) -> Figures:
        """See `Peers`."""
        said = _object(await self._call("POST", "trade_executor", "/hours/check", json={}))
        if said.get("agree") is not True:
            raise Rejected(f"no entry goes out: {str(said.get('said'))[:_LONGEST_SENTENCE]}")
        return _small(said)

    async def ask_for_bars(self) -> None:
        """See `Peers`."""
        await self._call("POST", "data_collector", "/collect/market-data", json={})

    async def budgets(self) -> list[Budget]:
        """See `Peers`."""
        said = _object(await self._call("GET", "data_collector", "/providers"))
        found = said.get("items")
        rows = [row for row in (found if isinstance(found, list) else []) if isinstance(row, dict)]
        try:
            return [_budget(row) for row in rows[:32]]
        except (KeyError, TypeError, ValueError):
            raise Unavailable("the data collector's budgets cannot be read") from None

    async def maintain(self, task: str) -> Figures:
        """See `Peers`."""
        return await self._followed(f"/maintenance/{task}")

    async def _followed(self, path: str) -> Figures:
        """Ask the collector for work that takes a while, and look until it has ended."""
        answer = await self._call("POST", "data_collector", path, json={})
        where = answer.headers.get("location", "")
        if not where.startswith(path):
            raise Unavailable(f"the data collector named no job to follow: {_quote(answer)}")
        for _ in range(_MOST_LOOKS):
            said = _object(await self._call("GET", "data_collector", where))
            match str(said.get("state", "")).upper():
                case "DONE":
                    return _small(said)
                case "FAILED":
                    raise Rejected(
                        f"the data collector failed: {str(said.get('error'))[:_LONGEST_QUOTE]}"
                    )
            await self._timer.sleep(_LOOK_EVERY_S)
        raise Unavailable(f"the data collector is still at {where}; look there for how it ends")

    async def _call(
        self, method: str, service: str, path: str, json: dict[str, Any] | None = None
    ) -> httpx.Response:
        name = service.replace("_", " ")
        try:
            async with asyncio.timeout(_CALL_WITHIN_S):
                answer = await self._http.request(
                    method, f"{self._urls[service]}{path}", json=json, headers=self._operate
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"the {name} does not answer; is it running?") from error
        if answer.is_success:
            return answer
        if answer.status_code >= 500:
            raise Unavailable(f"the {name} cannot do it now: {_quote(answer)}")
        raise Rejected(f"the {name} refused: {_quote(answer)}")


@contextlib.asynccontextmanager
async def open_peers(settings: Settings, timer: Timer) -> AsyncIterator[HttpPeers]:
    """The four services at the addresses of the settings."""
    urls = {service: settings.url_of(service) for service in OTHERS}
    # What the environment says of proxies is about the internet, not about this machine.
    async with httpx.AsyncClient(timeout=httpx.Timeout(_CALL_WITHIN_S), trust_env=False) as http:
        yield HttpPeers(http, urls, settings, timer)


def _budget(row: dict[str, Any]) -> Budget:
    return Budget(
        provider=str(row["provider"])[:64],
        used=int(row["used"]),
        limit=int(row["limit"]),
        per_s=int(row["window_s"]),
        blocked_why=str(row.get("blocked_why") or "")[:_LONGEST_QUOTE],
        waits=len(row.get("waiting") or []),
    )


def _figures(text: str) -> dict[str, float]:
    """The figures without labels in Prometheus' text."""
    found = {}
    for line in text[:_LONGEST_METRICS].splitlines():
        name, _, value = line.partition(" ")
        if name in (_MEMORY, _CPU):
            with contextlib.suppress(ValueError):
                found[name] = float(value)
    return {name: value for name, value in found.items() if 0 <= value < float("inf")}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _timed_out(error: Exception) -> bool:
    return isinstance(error, httpx.TimeoutException | TimeoutError)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _quote(answer: httpx.Response) -> str:
    detail = _object(answer).get("detail")
    text = detail if isinstance(detail, str) else answer.text
    return f"{answer.status_code} {text[:_LONGEST_QUOTE]}".strip()


def _small(said: dict[str, Any]) -> Figures:
    """The plain values of an answer: figures to keep, not a document to store."""
    plain = {k: v for k, v in list(said.items())[:32] if isinstance(v, str | int | float | bool)}
    return {k[:64]: v[:_LONGEST_QUOTE] if isinstance(v, str) else v for k, v in plain.items()}
