"""Pure rules and values. Nothing in here reads a clock, a table or a socket."""
