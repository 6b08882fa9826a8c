"""Durable state: the stores that hold runs and records of a checkpoint."""
