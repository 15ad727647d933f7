"""Which figures of a company are kept, and what each means?

One list for whoever fetches, stores or reads them. All are plain numbers as float64: money in dollars, ratios as they
are, and what people write in percent as a fraction (0.12 is 12 %). A figure that its source leaves empty is missing and
never zero: FinViz has no P/E for a company that loses money, and no return on equity where equity is negative.
"""

from __future__ import annotations

from collections.abc import Mapping

FUNDAMENTALS: Mapping[str, str] = {
    "market_cap": "what all its shares are worth, dollars",
    "pe": "price over the last four quarters' earnings per share; missing where it loses money",
    "forward_pe": "price over the earnings per share that analysts expect for the next fiscal year",
    "peg": "P/E over the yearly growth of earnings that is expected, in percent",
    "ps": "price over the last four quarters' sales per share",
    "pb": "price over book value per share, of the last quarter",
    "price_to_free_cash_flow": "price over the last four quarters' free cash flow per share",
    "dividend_yield": "a year's dividends over the price",
    "eps_growth_this_year": "earnings per share of this fiscal year over the last one's, less 1",
    "eps_growth_next_year": "earnings per share expected for the next fiscal year over this one's, less 1",
    "eps_growth_quarter": "earnings per share of the last quarter over those of a year before, less 1",
    "sales_growth_quarter": "sales of the last quarter over those of a year before, less 1",
    "return_on_assets": "the last four quarters' net income over total assets",
    "return_on_equity": "the last four quarters' net income over shareholders' equity",
    "current_ratio": "current assets over current liabilities, of the last quarter",
    "debt_to_equity": "total debt over shareholders' equity, of the last quarter",
    "gross_margin": "the last four quarters' gross profit over sales",
    "operating_margin": "the last four quarters' operating income over sales",
    "profit_margin": "the last four quarters' net income over sales",
}
