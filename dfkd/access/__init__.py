"""Teachers of which only answers are seen: behind an API, or a local network that is treated so."""
