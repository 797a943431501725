"""Metrics and results on their way to MLflow: a local spool, a shipper and a client with short time-outs."""
