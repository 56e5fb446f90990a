"""What an output means: predictions, classes, their names and orders."""
