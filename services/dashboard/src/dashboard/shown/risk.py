"""What could the account lose, and what is it allowed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.shown.limits import NEAR
from dashboard.shown.texts import (
    DASH,
    Cell,
    Column,
    Row,
    count,
    figure,
    full_time,
    moment,
    money,
    number,
    percent,
    ratio,
    shares,
    signed,
    signed_percent,
    state,
    title,
    tone,
    words,
)

STATS = (
    ("var", "Loss in one bar, 95 %", "USD"),
    ("risk", "At the stops", "USD"),
    ("gross", "Gross exposure", ""),
    ("net", "Net exposure", ""),
    ("drawdown", "Drawdown", ""),
    ("near", "Limits nearly full", ""),
)
CHANGEABLE = (
    Column("limit", "Limit"),
    Column("value", "In force", right=True),
)
HISTORY = (
    Column("at", "Time"),
    Column("what", "Change", wide=True),
    Column("actor", "By"),
    Column("reason", "Reason", wide=True),
)
SCENARIOS = (
    Column("what", "If"),
    Column("pnl", "Result", "USD", right=True),
    Column("after", "Equity after", "USD", right=True),
    Column("drawdown", "Drawdown after", right=True),
)
ATTRIBUTION = (
    Column("strategy", "Strategy"),
    Column("realised", "Realised", "USD", right=True),
    Column("open", "Unrealised", "USD", right=True),
    Column("value", "Market value", "USD", right=True),
    Column("trades", "Closed trades", right=True),
)


def stats(portfolio: Mapping[str, Any]) -> dict[str, Cell]:
    """The strip of figures."""
    losses = (portfolio.get("risk") or {}).get("losses") or {}
    checks = portfolio.get("limits", [])
    near = [
        c for c in checks if float(c["limit"]) > 0 and float(c["usage"]) / float(c["limit"]) >= NEAR
    ]
    worth, at_risk = number(portfolio.get("equity")), number(portfolio.get("portfolio_risk"))
    share = at_risk / worth if at_risk is not None and worth else None
    return {
        "var": Cell(
            money(losses.get("historical_var"), 0),
            sub=f"{money(losses.get('historical_cvar'), 0)} on average beyond it"
            if losses
            else "too few bars yet",
        ),
        "risk": Cell(
            money(at_risk), sub=f"{percent(share)} of equity" if share is not None else ""
        ),
        "gross": Cell(percent(portfolio.get("gross_exposure_ratio"), 1), sub="of equity"),
        "net": Cell(percent(portfolio.get("net_exposure_ratio"), 1), sub="of equity"),
        "drawdown": Cell(
            percent(portfolio.get("drawdown")), sub=f"peak {money(portfolio.get('peak_equity'))}"
        ),
        "near": Cell(
            count(len(near)),
            "warn" if near else "",
            sub=title(str(near[0]["code"]).lower()) if near else "all have room",
        ),
    }


def limits(answer: Mapping[str, Any], *, may_change: bool) -> list[Row]:
    """What may be changed while trading runs."""
    return [
        Row(
            name,
            {
                "limit": Cell(title(name)),
                "value": figure(
                    value, ratio(value, 0 if float(value).is_integer() and value >= 2 else 4)
                ),
            },
            (("change", "Change"),) if may_change else (),
        )
        for name, value in answer.get("limits", {}).items()
    ]


def history(changes: Sequence[Mapping[str, Any]], modes: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Who changed limits and modes, and why; newest first."""
    found = [
        Row(
            f"limit-{each['version']}",
            {
                "at": moment(each["changed_at"]),
                "what": Cell(
                    ", ".join(f"{title(k)} {ratio(v, 4)}" for k, v in each["changes"].items())
                    or "back to the settings"
                ),
                "actor": Cell(words(each["actor"])),
                "reason": Cell(words(each["reason"])),
            },
        )
        for each in changes
    ] + [
        Row(
            f"mode-{each['version']}",
            {
                "at": moment(each["changed_at"]),
                "what": state(each["mode"]),
                "actor": Cell(words(each["actor"])),
                "reason": Cell(words(each["reason"])),
            },
        )
        for each in modes
    ]
    return sorted(found, key=lambda row: -float(row.cells["at"].sort or 0))


def scenarios(risk: Mapping[str, Any]) -> list[Row]:
    """What gaps would do."""
    return [
        Row(
            str(index),
            {
                "what": Cell(
                    f"{words(each['symbol']) if each['symbol'] else 'everything'} {signed_percent(each['change'], 0)}"
                ),
                "pnl": figure(each["pnl"], signed(each["pnl"], 0), tone(each["pnl"])),
                "after": figure(each["equity_after"], money(each["equity_after"], 0)),
                "drawdown": figure(each["drawdown_after"], percent(each["drawdown_after"])),
            },
        )
        for index, each in enumerate(risk.get("scenarios", []))
    ]


def attribution(items: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Which strategy earned what."""
    return [
        Row(
            words(each["strategy"]),
            {
                "strategy": Cell(title(each["strategy"]) if each["strategy"] else "by hand"),
                "realised": figure(
                    each["realised_pnl"], signed(each["realised_pnl"]), tone(each["realised_pnl"])
                ),
                "open": figure(
                    each["unrealised_pnl"],
                    signed(each["unrealised_pnl"]),
                    tone(each["unrealised_pnl"]),
                ),
                "value": figure(each["market_value"], money(each["market_value"])),
                "trades": figure(each["closed_trades"], count(each["closed_trades"])),
            },
        )
        for each in items
    ]


def mode_facts(mode: Mapping[str, Any] | None) -> dict[str, Cell]:
    """The mode, who set it and why."""
    if mode is None:
        return {
            "mode": Cell(DASH),
            "reason": Cell("the risk manager has not run yet"),
            "actor": Cell(DASH),
            "at": Cell(DASH),
        }
    chip = state(mode["mode"])
    meaning = {
        "ACTIVE": "all orders may leave",
        "REDUCING": "only exits may leave",
        "HALTED": "no order may leave",
    }
    return {
        "mode": Cell(chip.text, chip.tone, meaning.get(mode["mode"], "")),
        "reason": Cell(words(mode["reason"])),
        "actor": Cell(words(mode["actor"])),
        "at": Cell(full_time(mode["changed_at"]), sub=f"version {shares(mode['version'])}"),
    }
