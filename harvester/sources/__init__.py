"""What to ask, and what an answer means."""
