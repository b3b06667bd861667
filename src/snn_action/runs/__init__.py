"""Runs: their folders, the split they decided, the pipeline, resume and prediction."""
