"""Duly beside its rivals: what `scripts/bench` runs."""
