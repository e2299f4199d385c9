"""Procedural talking heads and the speech that moves them."""
