"""What stops a command."""


class OperatorError(Exception):
    """Something the operator must put right; the text is one Korean sentence."""
