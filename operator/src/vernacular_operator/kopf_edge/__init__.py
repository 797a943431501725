"""The watch layer: the only part that knows Kopf."""
