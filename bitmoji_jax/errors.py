"""The two errors that reach a person as one line."""


class InputError(ValueError):
    """Bad usage or input: says what is wrong and how to mend it. Command lines print it and exit with 2."""


class RunError(RuntimeError):
    """A run that can't go on (loss not finite, disk full): says what happened and what is safe. Exit code 1."""
