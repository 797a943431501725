"""Vernacular: typed resources, Python API and command line of the FineTuneJob."""
