"""One file per runtime, all with the interface of `base.Backend`."""
