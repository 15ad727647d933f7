"""The command line `trader` and the local runtime: everything on one machine."""
