"""Runs a plan: sources, operators, epochs and sinks."""
