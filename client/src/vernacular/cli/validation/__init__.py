"""Checks a FineTuneJob as the API server would, without one, and says better what is wrong and in which line."""

from vernacular.cli.validation.check import Problem, check_job, job_schema

__all__ = ["Problem", "check_job", "job_schema"]
