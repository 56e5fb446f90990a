"""One run end to end: what is decided before it, its training, and what it leaves behind."""
