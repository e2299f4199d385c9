"""Audio frontends: a wave to features, one a video frame."""
