"""Lets nothing pass that breaks a limit, and can say why for each answer it gave."""
