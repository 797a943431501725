"""What a release consists of, and the checks before it."""
