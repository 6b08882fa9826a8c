"""Compiled loops over arrays. Arrays come in, arrays go out; nothing here reads, waits or remembers."""
