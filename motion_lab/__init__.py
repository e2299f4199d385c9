"""Motion Lab: a portrait and a recording become a video of that person speaking."""

__version__ = "0.1.0"
