"""What is said in one line, without a stack of calls."""

__all__ = ['InputError', 'UserError']


class UserError(ValueError):
    """Something that the user can mend: the message says what was wrong, what was expected and what to do."""


class InputError(UserError):
    """Something given by the user (data, options, machine) that no run can succeed with."""
