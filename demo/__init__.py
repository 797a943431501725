"""What the demo needs besides the operator: its base model."""
