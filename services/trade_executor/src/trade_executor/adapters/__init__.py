"""What stands outside of the executor: the broker's REST API, its stream, and the lock on the account."""
