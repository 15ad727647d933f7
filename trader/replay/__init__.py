"""Replays: the services and the simulator, stepped together over recorded or generated bars."""
