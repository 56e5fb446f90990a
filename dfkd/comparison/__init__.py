"""Many runs side by side: what they differ in, how they stand, and their page."""
