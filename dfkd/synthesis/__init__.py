"""Where images come from: the bank that holds them, what methods share, and the methods."""
