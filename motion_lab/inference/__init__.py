"""From a portrait and something that moves it to a video file."""
