"""Runs that are killed, or find the disk full, at a numbered step of their writing."""
