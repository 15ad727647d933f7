"""What does this result take for granted?

The list that every report carries, in the terms of the very plan that ran: what a reader has to believe before the
figures mean anything.
"""

from __future__ import annotations

from backtester.plan import Plan
from backtester.run import Engine


def assumptions_of(plan: Plan, engine: Engine) -> list[str]:
    """One sentence each, the most important first."""
    share = f"{plan.max_volume_share:.4g}"
    found = [
        (
            "A strategy decides on a bar's close and knows nothing later; market orders fill at the next open "
            "of a bar that has volume."
        ),
        f"Market orders and what a stop left over fill {plan.slippage_bps:g} bps worse than that open"
        + (
            ", which is nothing: real orders pay half of the spread."
            if plan.slippage_bps == 0
            else "."
        ),
        (
            "A stop fills at the worse of its price and the open, a target only when it is traded through; when both "
            "lie in one bar the stop is taken."
        ),
        f"A bar gives at most {share} of its volume; our orders move no price beyond the slippage.",
        f"Commission is {plan.commission_bps:g} bps and {plan.commission_per_share:g} USD a share; fees of the SEC "
        "and FINRA are "
        + ("charged on sales at the rates of the day." if plan.regulatory_fees else "left out."),
        f"Trading begins with {plan.cash:,.2f} USD; cash earns no interest.",
        (
            "Prices are taken as they stand in the data: bars that were revised, or symbols chosen because they "
            "survived, flatter every result."
        ),
        "Orders fill while the exchange is open, whole sessions long; halts and auctions are not modelled.",
    ]
    if plan.sizing.name != "limits" or (plan.limits is not None and plan.limits.allow_short):
        turned = (
            "decided where the exit has filled, as live"
            if plan.sizing.name == "limits"
            else "made at the very open of the exit; live, it follows a bar later, and only with RISK_ALLOW_SHORT"
        )
        found.append(
            f"Whoever sells short borrows at {plan.borrow_rate:.4g} a year, in whole shares, and finds every symbol "
            f"lent but {len(plan.unlent)} that were named; live, the broker's word of the day decides. The entry that turns "
            f"a position around is {turned}."
        )
    if plan.limits is None:
        found.append(
            "The risk rules are off: no limit, stop or target of live trading holds, so live would trade "
            "otherwise."
        )
    else:
        found.append(
            f"The risk rules of live trading hold: stops {plan.limits.stop_loss:.4g} below and targets "
            f"{plan.limits.take_profit:.4g} above the deciding close (the other way round for what is sold short), at most "
            f"{plan.limits.max_position_size:.4g} of equity in a symbol."
        )
        found.append(
            "When the limit on drawdown or a day's loss is passed no entry follows until the end: live, a person has to resume."
        )
    managed = _managed(plan)
    if managed:
        found.append(f"What is held is managed at each close, as live: {'; '.join(managed)}.")
    found.append(
        "Shares are "
        + ("divisible." if plan.fractional else "whole.")
        + f" Entries are sized by {plan.sizing.name}"
        + (
            "."
            if plan.sizing.name in ("limits", "all_in")
            else f" ({plan.sizing.amount:.4g} of equity)."
        )
    )
    found.append(
        "The fast engine ran; a test holds it equal to the objects that trade live, fill by fill."
        if engine is Engine.FAST
        else "The objects that trade live ran: the risk manager's review and the simulator's book."
    )
    return found


def _managed(plan: Plan) -> list[str]:
    """What is done with positions that nobody wished for."""
    managed, found = plan.managed, []
    if managed.trailing_stop:
        found.append(f"stops follow {managed.trailing_stop:.4g} of the price away")
    if managed.atr_stop:
        found.append(f"stops follow {managed.atr_stop:.4g} average true ranges away")
    if managed.scale_out:
        steps = ", ".join(
            f"{share:.4g} at {gain:.4g} above it" for gain, share in managed.scale_out
        )
        found.append(f"of each entry, by its price, is sold {steps}")
    if managed.rebalance_band:
        found.append(
            f"what is {managed.rebalance_band:.4g} over the most of a position is sold down to it"
        )
    if managed.day_strategies:
        names = ", ".join(sorted(managed.day_strategies))
        found.append(
            f"{names} hold nothing overnight, from {managed.flat_before_close_s} s before the close"
        )
    return found
