"""The strategies that ship. A module put here is found by itself; there is no list to add it to."""
