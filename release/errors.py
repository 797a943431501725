"""What a person has to mend before a release."""


class ReleaseError(Exception):
    """The text says what to do."""
