"""The local runtime: the whole system as processes of one machine, on real PostgreSQL and Redis.

`Instance` says where a stack lives (home, ports, secrets); `LocalStack` starts it, watches it and
stops it. The stack of the project and the stacks of tests differ in nothing but their `Instance`.
Import the modules by name: this package loads none of them, so that `trader --help` stays quick.
"""
