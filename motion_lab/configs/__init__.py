"""Configurations: the typed schema, and presets of every model as YAML."""
