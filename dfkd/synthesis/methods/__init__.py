"""Synthesis methods, one file each, written out top to bottom against their papers."""
