"""How the operator scales: its own process against a real API server, with stages played by a simulation."""
