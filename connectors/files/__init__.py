"""Files: Parquet and Arrow IPC."""
