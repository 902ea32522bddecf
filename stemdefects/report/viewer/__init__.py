"""The movie in the page: looked at, and corrected."""
