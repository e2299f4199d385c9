"""Measuring what models do: metrics, protocols and yardsticks."""
