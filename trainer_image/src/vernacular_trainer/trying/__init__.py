"""Base and tuned model of a job side by side, for a person to ask."""
