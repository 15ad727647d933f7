"""Alert rules and dashboards ask for figures that exist, and every alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from shared.adapters.figures import ProcessFigures
from shared.adapters.metrics import ServiceMetrics
from trader.runtime.instance import DASHBOARD, SERVICES
from trader.runtime.places import project_folder
from trader.runtime.ports import Ports

FOLDER = project_folder() / "monitoring"
ALERTS = FOLDER / "prometheus" / "alerts.yml"
BOARDS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
# PromQL's own words, and labels.
WORDS = frozenset(
    [
        "sum",
        "by",
        "rate",
        "increase",
        "histogram_quantile",
        "count",
        "vector",
        "or",
        "and",
        "on",
        "ignoring",
        "max",
        "min",
        "avg",
        "le",
        "status",
        "state",
        "outcome",
        "service",
        "job",
        "hop",
        "reader",
        "lane",
        "strategy",
        "direction",
        "provider",
        "dependency",
    ]
)


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]


def expressions() -> list[str]:
    panels = [panel for board in BOARDS for panel in json.loads(board.read_text())["panels"]]
    return [rule["expr"] for rule in rules()] + [
        target["expr"] for panel in panels for target in panel["targets"]
    ]


def exported() -> set[str]:
    """Names as they stand in our sources and as the library spells them out."""
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    figures = ProcessFigures(broker_requests={"entry": 1}, cache={("latest_bars", "hit"): 1})  # type: ignore[arg-type]
    made = ServiceMetrics("x", "1", figures)
    made.note({"postgres": True})
    made.register(registry)
    names = set(
        re.findall(
            r"^(\w+)[ {]", prometheus_client.generate_latest(registry).decode(), re.MULTILINE
        )
    )
    for file in ("scheduler", "data_collector", "strategy_engine"):
        for source in (project_folder() / "services" / file / "src").rglob("*.py"):
            text = source.read_text()
            for kind, name in re.findall(
                r"(Gauge|Counter|Histogram)(?:MetricFamily)?\(\s*\"(\w+)\"", text
            ):
                names |= {name, f"{name}_total"} if kind == "Counter" else {name, f"{name}_bucket"}
            names |= set(re.findall(r"_labelled\(\s*\"(\w+)\"", text))
            names |= set(re.findall(r": \(\"(\w+)\", \"", text))
            names |= {f"{name}_total" for name in re.findall(r"\"(collector_\w+)\": \(", text)}
    return names | {"up", "http_request_seconds_bucket", "http_request_seconds_count"}


def test_every_figure_that_an_alert_or_a_panel_asks_for_is_exported() -> None:
    known = exported()
    asked = {
        name
        for expression in expressions()
        for name in re.findall(r"[a-z_]{3,}", re.sub(r"\"[^\"]*\"|\[[^]]*\]", "", expression))
    }

    assert asked - WORDS - known == set()
    assert len(asked & known) > 25


def test_every_alert_has_a_weight_a_summary_and_says_what_to_do() -> None:
    found = rules()

    assert len({rule["alert"] for rule in found}) == len(found) >= 20
    for rule in found:
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert len(rule["annotations"]["summary"]) > 5, rule["alert"]
        assert len(rule["annotations"]["description"]) > 20, rule["alert"]
        assert re.fullmatch(r"\d+m", rule.get("for", "1m")), rule["alert"]


def test_drawdown_is_coloured_by_the_limit_that_holds_and_by_no_figure_of_the_board() -> None:
    (panel,) = [
        panel
        for board in BOARDS
        for panel in json.loads(board.read_text())["panels"]
        if panel["title"] == "Drawdown"
    ]
    names = {target["expr"]: target["legendFormat"] for target in panel["targets"]}
    coloured = {
        override["matcher"]["options"]: each["value"]["steps"]
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "thresholds"
    }

    assert "thresholds" not in panel["fieldConfig"]["defaults"]
    assert list(coloured) == [names["account_drawdown_ratio / account_drawdown_limit_ratio"]]
    assert [step["value"] for step in coloured["of its limit"]] == [None, 0.8, 1]


def test_prometheus_asks_every_service_on_its_port() -> None:
    scrape = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ][0]
    ports = Ports().as_mapping()

    # What the scheduler says of the others carries their names, which a target's own label would replace.
    assert scrape["honor_labels"] is True
    targets = {target for each in scrape["static_configs"] for target in each["targets"]}
    assert targets == {f"{name}:{ports[name]}" for name in (*SERVICES, DASHBOARD)}


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_a_board_has_panels_that_do_not_overlap_and_name_their_source(board: Path) -> None:
    document = json.loads(board.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        where = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(where["x"], where["x"] + where["w"])
            for y in range(where["y"], where["y"] + where["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == "prometheus"
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


# What makes each alert fire: series with their values minute by minute, in promtool's notation.
FIRES = {
    "TradingHalted": [("trading_mode", "2x30")],
    "TradingReducing": [("trading_mode", "1x30")],
    "OrderOfUnknownOutcome": [('orders{state="UNKNOWN"}', "1x30"), ('orders{state="FILLED"}', "9x30")],
    "DifferenceWithTheBroker": [("differences_open", "2x30")],
    "DrawdownNearItsLimit": [("account_drawdown_ratio", "0.05x30"), ("account_drawdown_limit_ratio", "0.06x30")],
    "PipelineStuck": [('pipeline_oldest_waiting_seconds{reader="risk_manager"}', "90x30")],
    "PipelineSlow": [('pipeline_hop_seconds{hop="signal_to_decision"}', "9x30")],
    "StrategyFailing": [('strategy_failures_total{strategy="x"}', "0+1x30")],
    "FeedNotLive": [("collector_live", "0x30")],
    "ProviderHoldsUsUp": [('collector_requests_waiting{provider="alpaca"}', "3x30")],
    "BarsInQuarantine": [("bars_quarantined", "60x30")],
    "CacheMisses": [
        ('cache_lookups_total{cache="latest_bars",outcome="miss"}', "0+60x40"),
        ('cache_lookups_total{cache="latest_bars",outcome="hit"}', "0+30x40"),
    ],
    "ServiceDown": [('up{job="trading",service="dashboard"}', "0x30")],
    "ServiceNotReady": [('service_ready{service="risk_manager"}', "0x30")],
    "DependencyDown": [('dependency_up{dependency="postgres",service="x"}', "0x30")],
    "ErrorsAnswered": [('http_request_seconds_count{service="x",status="503"}', "0+60x30")],
    "SlowAnswers": [
        ('http_request_seconds_bucket{service="x",le="1.0"}', "0x30"),
        ('http_request_seconds_bucket{service="x",le="5.0"}', "0+60x30"),
        ('http_request_seconds_bucket{service="x",le="+Inf"}', "0+60x30"),
    ],
    "DatabasePoolWaits": [("database_longest_wait_seconds", "3x30")],
    "DatabaseRetries": [("database_retries_total", "0+120x30")],
    "EventLoopLate": [("event_loop_longest_lag_seconds", "1x30")],
    "BrokerBudgetTight": [("broker_budget_wait_seconds_total", "0+30x30")],
    "MemoryHigh": [("process_resident_memory_bytes", "2000000000x30")],
    "JobsFailed": [("jobs_failed_today", "1x30")],
    "NotificationsUndelivered": [("notices_undelivered", "1x30")],
}  # fmt: skip
# A calm day: everything that alerts look at is there, and nothing is wrong with it.
CALM = [
    ("trading_mode", "0x40"),
    ('orders{state="FILLED"}', "9x40"),
    ("differences_open", "0x40"),
    ("account_drawdown_ratio", "0.02x40"),
    ("account_drawdown_limit_ratio", "0.03x40"),
    ('pipeline_oldest_waiting_seconds{reader="risk_manager"}', "1x40"),
    ('pipeline_hop_seconds{hop="decision_to_order"}', "50000x40"),
    ('pipeline_hop_seconds{hop="bar_to_batch"}', "0.2x40"),
    ('strategy_failures_total{strategy="x"}', "3x40"),
    ("collector_live", "1x40"),
    ('collector_requests_waiting{provider="alpaca"}', "0x40"),
    ("bars_quarantined", "3x40"),
    ('cache_lookups_total{cache="latest_bars",outcome="miss"}', "0+1x40"),
    ('cache_lookups_total{cache="latest_bars",outcome="hit"}', "0+30x40"),
    ('up{job="trading",service="dashboard"}', "1x40"),
    ('service_ready{service="risk_manager"}', "1x40"),
    ('dependency_up{dependency="postgres",service="x"}', "1x40"),
    ('http_request_seconds_count{service="x",status="200"}', "0+60x40"),
    ('http_request_seconds_bucket{service="x",le="1.0"}', "0+60x40"),
    ('http_request_seconds_bucket{service="x",le="+Inf"}', "0+60x40"),
    ("database_longest_wait_seconds", "0.01x40"),
    ("database_retries_total", "3x40"),
    ("event_loop_longest_lag_seconds", "0.01x40"),
    ("broker_budget_wait_seconds_total", "0x40"),
    ("process_resident_memory_bytes", "200000000x40"),
    ("jobs_failed_today", "0x40"),
    ("notices_undelivered", "0x40"),
]


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on the PATH; the rules were checked by name alone")
    return found


def rule_test(series: list[tuple[str, str]], firing: list[str]) -> dict[str, Any]:
    """A test of promtool's: after half an hour of `series` exactly `firing` fire."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "30m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing
                ],
            }
        ],
    }


def test_every_alert_has_a_case_that_makes_it_fire() -> None:
    assert set(FIRES) == {rule["alert"] for rule in rules()}


def test_each_alert_fires_in_its_case_alone_and_none_on_a_calm_day(tmp_path: Path) -> None:
    cases = [
        rule_test(CALM, []),
        *(rule_test(series, [name]) for name, series in FIRES.items()),
    ]
    document = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))

    command = [promtool(), "test", "rules", str(tmp_path / "tests.yml")]
    done = subprocess.run(command, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "what", ["check rules alerts.yml", "check config --syntax-only prometheus.yml"]
)
def test_promtool_accepts_the_files_where_it_is_installed(what: str) -> None:
    *words, file = what.split()
    command = [promtool(), *words, str(FOLDER / "prometheus" / file)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
