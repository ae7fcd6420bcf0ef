"""PyTorch models become bundles: graphs, checks, manifest."""
