"""The one error of this code."""


class RefusalError(ValueError):
    """What was given cannot be used; one line says what was got and what to do."""
