"""The scheduler: keeps time for all. Market phases, jobs that none runs twice, health of the others."""
