"""Jobs on this machine without a cluster: the same documents for the same stages, run one after the other."""
