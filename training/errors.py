"""What stops a training command; each text is one Korean sentence for the operator."""


class TrainingInputError(Exception):
    """What the operator gave is wrong: a file, a name, a setting."""


class TrainingError(Exception):
    """Something the operator must put right: a missing model, too little memory, a full disk."""
