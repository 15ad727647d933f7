"""What stands outside of the collector: the venue's REST API and its stream."""
