from __future__ import annotations


class DevclusterError(Exception):
    """Something the person at the keyboard can put right; the message says how."""
