"""How the scheduler reaches the other services: by their APIs and by their views."""
