"""Motion Lab: a portrait and a recording become a video of that person speaking."""

from motion_lab import catalogue as _catalogue  # noqa: F401  declares the components, light

__version__ = "0.1.0"
