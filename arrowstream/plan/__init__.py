"""What a query means: typed nodes, checked when built, rewritten and explained before any row moves."""
