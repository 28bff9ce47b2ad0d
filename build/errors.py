"""What a failed build says."""


class BuildError(Exception):
    """The build cannot go on; the text says what to do."""
