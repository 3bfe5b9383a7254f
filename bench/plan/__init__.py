"""What a study will run, why, and what it costs: known before anything starts, without torch."""
