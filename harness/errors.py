"""What a user did wrong, said in one line."""


class UserError(ValueError):
    """Bad input: the message names what is wrong and what to do about it, in one line.

    Args:
        message: one line, no traceback needed to act on it.
        exit_code: what the process exits with (2: bad input, 3: too many judgements missing).
    """

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code
