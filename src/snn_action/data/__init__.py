"""Datasets, and the way from a video file to the images of its clips."""
