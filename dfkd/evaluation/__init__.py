"""Metrics of images and networks, diagnostics, and selection without data."""
