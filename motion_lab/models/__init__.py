"""The two stages, assembled from components; no layer types of their own."""
