"""What would the account hold, owe and risk with this order, as a share of what it is worth?"""

from __future__ import annotations

from risk_manager.limits.codes import Code
from shared.domain.arithmetic import GRID, NOISE
from shared.domain.decisions import Check


def position_size(committed_value: float, order_value: float, equity: float, limit: float) -> Check:
    """One symbol's share of equity: what is held, open, reserved or unknown, and this order.

    Args:
        committed_value, order_value, equity: dollars.
    Source: SEC rule 15c3-5(c)(1)(i), capital thresholds.
    """
    usage = (committed_value + order_value) / equity if equity > 0.0 else limit + 1.0
    return Check(
        Code.POSITION_SIZE,
        usage <= limit + NOISE,
        limit,
        usage,
        "of equity",
        f"{committed_value + order_value:.2f} USD is {usage:.2%} of equity {equity:.2f}, "
        f"at most {limit:.2%}",
    )


def buying_power(cost: float, available: float, share_cost: float) -> Check:
    """What the order may cost, an opening gap included, against cash that nothing has reserved yet.

    Args:
        cost, available: dollars on the grid of a millionth, of which one step is no breach.
        share_cost: dollars for one share, which the noise of a floor scales with.
    Source: SEC rule 15c3-5(c)(1)(i), capital thresholds.
    """
    return Check(
        Code.BUYING_POWER,
        cost <= available + GRID + NOISE * share_cost,
        available,
        cost,
        "USD",
        f"needs {cost:.2f} USD with room for a gap, {available:.2f} USD is free",
    )


def portfolio_risk(risk: float, order_risk: float, equity: float, limit: float) -> Check:
    """What would be lost if every stop were hit: filled, open, reserved, unknown and this order, whichever side.

    Args:
        risk, order_risk, equity: dollars. What has no stop is at risk as a whole.
    Source: "portfolio heat", Elder (2014), The New Trading for a Living, ch. 50.
    """
    usage = (risk + order_risk) / equity if equity > 0.0 else limit + 1.0
    return Check(
        Code.PORTFOLIO_RISK,
        usage <= limit + NOISE,
        limit,
        usage,
        "of equity",
        f"{risk + order_risk:.2f} USD to all stops is {usage:.2%} of equity {equity:.2f}, "
        f"at most {limit:.2%}",
    )


def _share_of_equity(
    code: Code, value: float, order_value: float, equity: float, limit: float, what: str
) -> Check:
    """`value` and this order, dollars, as a fraction of equity against `limit`."""
    usage = (value + order_value) / equity if equity > 0.0 else limit + 1.0
    return Check(
        code,
        usage <= limit + NOISE,
        limit,
        usage,
        "of equity",
        f"{what} {value + order_value:.2f} USD is {usage:.2%} of equity {equity:.2f}, "
        f"at most {limit:.2%}",
    )


def gross_exposure(committed: float, order_value: float, equity: float, limit: float) -> Check:
    """All that is held, open, reserved or unknown, whichever side, and this order.

    Args:
        committed, order_value, equity: dollars; `committed` is a sum of absolute values.
    Source: invariant I9 of the fault model; RTS 6, article 15.
    """
    return _share_of_equity(
        Code.GROSS_EXPOSURE, committed, order_value, equity, limit, "gross exposure"
    )


def net_exposure(net: float, order_value: float, equity: float, limit: float) -> Check:
    """What is held and on order net on the order's side, and this order; what is held on the other side makes room.

    Args:
        net, order_value, equity: dollars; below zero where more is held on the other side.
    Source: RTS 6, article 15, as for gross exposure.
    """
    return _share_of_equity(Code.NET_EXPOSURE, net, order_value, equity, limit, "net exposure")


def sector_exposure(
    sector: str | None, committed: float, order_value: float, equity: float, limit: float
) -> Check:
    """One sector's share of equity. A symbol that the settings put into no sector is not counted.

    Args:
        sector: the symbol's own, None for none.
        committed: dollars held and on order in symbols of that sector.
    Source: concentration limits as in QuantConnect's MaximumSectorExposureRiskManagementModel.
    """
    if sector is None:
        text = "the symbol is in no sector of RISK_SECTORS"
        return Check(Code.SECTOR_EXPOSURE, True, limit, 0.0, "of equity", text)
    return _share_of_equity(
        Code.SECTOR_EXPOSURE, committed, order_value, equity, limit, f"sector {sector} with"
    )


def strategy_exposure(
    strategy: str, committed: float, order_value: float, equity: float, limit: float
) -> Check:
    """What one strategy has bought and ordered, as a share of equity.

    Args:
        committed: dollars held and on order that this strategy's entries brought.
    Source: invariant I9 of the fault model, for what one strategy binds.
    """
    return _share_of_equity(
        Code.STRATEGY_EXPOSURE, committed, order_value, equity, limit, f"strategy {strategy} with"
    )


def strategy_capital(
    strategy: str, committed: float, order_value: float, equity: float, bucket: float | None
) -> Check:
    """What one strategy binds against the capital set aside for it; None where it has no bucket.

    Source: freqtrade's `available_capital`, the part of an account that one bot may use.
    """
    if bucket is None:
        text = f"strategy {strategy} has no bucket in RISK_STRATEGY_CAPITAL"
        return Check(Code.STRATEGY_CAPITAL, True, 1.0, 0.0, "of equity", text)
    return _share_of_equity(
        Code.STRATEGY_CAPITAL, committed, order_value, equity, bucket, f"bucket of {strategy} with"
    )


def concurrent_positions(symbols: int, limit: int) -> Check:
    """At most `limit` symbols held or on order, this one included.

    Source: freqtrade's `max_open_trades`.
    """
    return Check(
        Code.CONCURRENT_POSITIONS,
        symbols <= limit,
        float(limit),
        float(symbols),
        "symbols",
        f"{symbols} symbols held or on order, this one included, at most {limit}",
    )


def intraday_margin(
    committed: float, order_value: float, equity: float, maintenance_margin: float
) -> Check:
    """Equity must cover the maintenance margin of all that is held and on order, this order included.

    Args:
        committed, order_value, equity: dollars.
        maintenance_margin: the fraction of market value that must be own money, 0.25 for long shares.
    Source: FINRA rule 4210 as of 2026-06-04, which replaced counting day trades: no order may leave that
        makes or widens an intraday margin deficit.
    """
    required = (committed + order_value) * maintenance_margin
    return Check(
        Code.INTRADAY_MARGIN,
        required <= equity + GRID,
        equity,
        required,
        "USD",
        f"maintenance margin {required:.2f} USD at {maintenance_margin:.2%}, "
        f"equity is {equity:.2f} USD",
    )
