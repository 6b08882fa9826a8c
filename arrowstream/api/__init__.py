"""What users call: streams, windows, jobs."""
