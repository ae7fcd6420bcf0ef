"""Data sets as benchmarks publish them: one file a layout, all read into `Sequence`."""
