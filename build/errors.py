"""The error of a failed build."""


class BuildError(Exception):
    """The build cannot continue; the text has the reason and the remedy."""
