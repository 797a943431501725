"""How fast the train stage is beside other trainers: the same rows, base, adapter and optimizer."""
