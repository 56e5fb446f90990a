"""The outer loop and what it runs on: budget, optimisers, processes, files."""
