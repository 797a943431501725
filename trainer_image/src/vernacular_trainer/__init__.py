"""The stages of a fine-tuning job: prepare, train, evaluate, publish."""
