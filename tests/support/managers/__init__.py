"""Managers of other projects, built from pinned Go modules, as processes beside an API server without nodes."""
