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
from trader.runtime.instance import DASHBOARD, SERVICES, project_folder
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


def test_prometheus_asks_every_service_on_its_port() -> None:
    scrape = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ][0]
    ports = Ports().as_mapping()

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


def test_promtool_accepts_the_rules_where_it_is_installed() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the PATH; the rules were checked by name alone")
    done = subprocess.run(
        [promtool, "check", "rules", ALERTS], capture_output=True, check=False, text=True
    )

    assert done.returncode == 0, done.stderr
