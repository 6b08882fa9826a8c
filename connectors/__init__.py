"""Sources and sinks: one folder for each kind of place, with the same file names in each."""
