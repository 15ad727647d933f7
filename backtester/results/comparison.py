"""What differs between runs?

Kept runs side by side: only the choices that differ, the figures of all with their distance from the first, and whether two
runs are fair to compare at all. And: does a run that is done again come out the same?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backtester.results.figures import Kind
from shared.domain.errors import TradingError


class Unrepeatable(TradingError):
    """A kept run does not come out the same today."""


# What is compared of the figures, with whether more is better.
FIGURES = (
    ("total_return", "Total return", Kind.FRACTION, True),
    ("cagr", "CAGR", Kind.FRACTION, True),
    ("volatility", "Volatility", Kind.FRACTION, False),
    ("sharpe", "Sharpe", Kind.RATIO, True),
    ("sortino", "Sortino", Kind.RATIO, True),
    ("calmar", "Calmar", Kind.RATIO, True),
    ("max_drawdown", "Max drawdown", Kind.FRACTION, False),
    ("trades", "Trades", Kind.COUNT, None),
    ("win_rate", "Win rate", Kind.FRACTION, True),
    ("profit_factor", "Profit factor", Kind.RATIO, True),
    ("expectancy", "Expectancy", Kind.MONEY, True),
    ("exposure", "Time in the market", Kind.FRACTION, None),
    ("turnover", "Turnover a year", Kind.RATIO, None),
    ("fees", "Fees", Kind.MONEY, False),
    ("slippage_cost", "Slippage", Kind.MONEY, False),
    ("final_equity", "Final equity", Kind.MONEY, True),
)
_BARS = ("data", "account", "traded_symbols", "bar_length", "first_on", "last_on", "engine")


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; every row has one value per run, in their order."""

    ids: Sequence[str]
    differing: Sequence[tuple[str, Sequence[Any]]]
    figures: Sequence[tuple[str, str, Kind, bool | None, Sequence[Any]]]
    notes: Sequence[str]

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "runs": list(self.ids),
            "differing": {name: list(values) for name, values in self.differing},
            "figures": {name: list(values) for name, _, _, _, values in self.figures},
            "notes": list(self.notes),
        }


def compare_runs(documents: Sequence[Mapping[str, Any]]) -> Comparison:
    """Compare kept runs; the first is the measure."""
    manifests = [document["manifest"] for document in documents]
    choices = [
        _flat({name: manifest.get(name) for name in ("strategy", "parameters", "plan", *_BARS)})
        for manifest in manifests
    ]
    names = list(dict.fromkeys(name for choice in choices for name in choice))
    rows = [(name, [choice.get(name) for choice in choices]) for name in names]
    differing = [(name, values) for name, values in rows if any(v != values[0] for v in values)]
    notes = []
    if any(manifest["data_hash"] != manifests[0]["data_hash"] for manifest in manifests):
        notes.append(
            "The runs used different bars, so their figures are not of the same time or market."
        )
    if any(manifest["code_hash"] != manifests[0]["code_hash"] for manifest in manifests):
        notes.append(
            "The runs were made by different code; run them anew to compare what was chosen alone."
        )
    if all(manifest["result_hash"] == manifests[0]["result_hash"] for manifest in manifests):
        notes.append("All of them traded exactly the same.")
    return Comparison(
        [manifest["id"] for manifest in manifests],
        differing,
        [
            (name, title, kind, better, [document["summary"].get(name) for document in documents])
            for name, title, kind, better in FIGURES
        ],
        notes,
    )


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{above}{name}."))
        else:
            found[f"{above}{name}"] = value
    return found


@dataclass(frozen=True, slots=True)
class Verification:
    """A run that was done again, against its manifest."""

    id: str
    changed: Sequence[str]
    is_same: bool

    @classmethod
    def of(cls, before: Mapping[str, Any], now: Mapping[str, Any]) -> Verification:
        """Compare the manifest of a kept run with that of the same request today."""
        hashes = ("config_hash", "data_hash", "code_hash", "result_hash")
        changed = [name for name in hashes if before[name] != now[name]]
        return cls(before["id"], changed, "result_hash" not in changed)

    @property
    def sentence(self) -> str:
        """What a person reads."""
        causes = {
            "config_hash": "what was asked for",
            "data_hash": "the bars",
            "code_hash": "the code",
        }
        known = [text for name, text in causes.items() if name in self.changed]
        if self.is_same and not known:
            return f"run {self.id}: the same, fill by fill and to the last bit of equity"
        if self.is_same:
            return (
                f"run {self.id}: the same, fill by fill and to the last bit of equity, although "
                f"{' and '.join(known)} changed"
            )
        why = f"{' and '.join(known)} changed" if known else "nothing that is known of changed"
        return f"run {self.id}: NOT the same; {why}. Compare with a run of today: trader backtest compare"

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {"id": self.id, "is_same": self.is_same, "changed": list(self.changed)}
