"""The Vernacular operator: watches FineTuneJobs and runs their stages."""
