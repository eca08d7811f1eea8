"""Servers of other people that suites start for themselves, each on loopback, stopped by process id."""
