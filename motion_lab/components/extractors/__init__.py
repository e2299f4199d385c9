"""Extractors: audio features to the context that moves the face."""
