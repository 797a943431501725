"""What is shown: pure functions from resources as plain dicts to lines of text."""
