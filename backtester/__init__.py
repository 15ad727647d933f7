"""The services' rules over recorded bars."""
