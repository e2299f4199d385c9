"""Training of both stages: one engine, and for each stage its data and losses."""
