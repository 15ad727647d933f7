"""Fakes, builders and contract suites: what tests of several rooms share. Production never imports it."""
