"""Training of the lab networks: small measuring networks that learn from synthetic heads."""
