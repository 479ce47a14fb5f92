"""What a user did wrong, said in one line."""


class ReportError(ValueError):
    """Bad input: the message names the culprit and the mend in one line."""

    exit_code = 2
