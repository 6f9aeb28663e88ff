"""What stops a command."""


class BadInputError(Exception):
    """What an operator gave a command is wrong; the text is one Korean sentence."""


class OperatorError(Exception):
    """Something the operator must put right; the text is one Korean sentence."""
