"""What every benchmark shares: cases, checks, timers, limits, results and their table."""
