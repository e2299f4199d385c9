"""Backbones: denoisers of motion windows."""
