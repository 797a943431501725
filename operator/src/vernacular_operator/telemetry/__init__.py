"""What the operator tells about itself: metrics for Prometheus and logs for people and machines."""
