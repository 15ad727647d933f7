"""The pages: each puts what `shown` says onto the screen, and hands a person's wishes to the services."""

from dashboard.pages import orders, overview, positions, risk
from dashboard.parts.frame import Page

PAGES = [
    Page("/", "Overview", "space_dashboard", overview.build),
    Page("/positions", "Positions", "account_balance_wallet", positions.build),
    Page("/orders", "Orders", "swap_vert", orders.build),
    Page("/risk", "Risk", "shield", risk.build, starts_group=True),
]
