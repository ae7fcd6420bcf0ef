"""Checkpoint readers, and the weights, bundles and samples that ship with trk."""
