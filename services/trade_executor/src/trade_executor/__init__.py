"""The trade executor: no order doubled, lost or invented."""
