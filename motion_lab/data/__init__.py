"""Audio, video, portraits, clips on disk and synthetic heads."""
