"""The operators: pure state machines over frames, one module each."""
