"""What test modules share: networks, rows of the contracts, runs, commands."""
