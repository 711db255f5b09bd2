"""Slow, obvious versions of the hot paths: the oracle that the fast ones are compared with."""
