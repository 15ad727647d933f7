"""The commands of `trader`, one module per group; each is imported only when it is used."""
