"""Choosing a head and its settings on the user's own data: over cached features, on training groups alone."""
