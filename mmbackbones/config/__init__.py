"""Configs: found, read, edited, followed on the meta device, and checked before data are read."""
