"""Data in memory: Arrow and Polars frames, lazy frames, batches from Python."""
