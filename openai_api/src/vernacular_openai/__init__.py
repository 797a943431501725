"""The OpenAI-compatible fine-tuning API: each fine-tuning job is a FineTuneJob, each API key a Kubernetes token."""
