"""Synthetic datasets as a product: made, shared between processes, checked, labelled, handed on."""
