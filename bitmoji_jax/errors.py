"""The errors that command lines print as one line."""


class InputError(ValueError):
    """Bad usage or input: says what is wrong and how to mend it. Exit code 2."""


class RunError(RuntimeError):
    """A run that cannot continue (loss not finite, disk full): says what happened and what is saved. Exit code 1."""
