"""How the dashboard reaches the services: by their HTTP APIs."""
