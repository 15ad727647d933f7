"""The real servers, for the tests of this folder."""

from trader.testing.servers import account, servers, settings_for

__all__ = ["account", "servers", "settings_for"]
