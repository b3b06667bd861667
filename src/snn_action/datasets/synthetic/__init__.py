"""Synthetic videos of human actions: an articulated figure in UCF101's layout, the same bytes for the same seed."""
