"""The pages: each puts what `shown` says onto the screen, and hands a person's wishes to the services."""

from dashboard.pages import (
    backtests,
    charts,
    data_health,
    decisions,
    jobs,
    logs,
    orders,
    overview,
    positions,
    reconciliation,
    risk,
    settings,
    signals,
)
from dashboard.parts.frame import Page

PAGES = [
    Page("/", "Overview", "space_dashboard", overview.build),
    Page("/positions", "Positions", "account_balance_wallet", positions.build),
    Page("/orders", "Orders", "swap_vert", orders.build),
    Page("/decisions", "Decisions", "rule", decisions.build),
    Page("/signals", "Signals & universe", "sensors", signals.build),
    Page("/charts", "Charts", "candlestick_chart", charts.build),
    Page("/risk", "Risk", "shield", risk.build, starts_group=True),
    Page("/backtests", "Backtests", "science", backtests.build),
    Page("/reconciliation", "Reconciliation", "balance", reconciliation.build),
    Page("/data", "Data health", "monitor_heart", data_health.build, starts_group=True),
    Page("/jobs", "Jobs & calendar", "event", jobs.build),
    Page("/logs", "Logs & audit", "receipt_long", logs.build),
    Page("/settings", "Settings", "tune", settings.build),
]
