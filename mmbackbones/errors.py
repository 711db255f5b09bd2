"""What is said in one line, without a stack of calls."""

__all__ = ['InputError', 'UnknownNameError', 'UserError', 'one_line']


class UserError(ValueError):
    """Something that the user can mend: the message says what was wrong, what was expected and what to do."""


class InputError(UserError):
    """Something given by the user (data, options, machine) that no run can succeed with."""


class UnknownNameError(UserError, KeyError):
    """A name that nothing has; the message names what is near."""

    __str__ = ValueError.__str__  # a KeyError would say it in quotes


def one_line(error: BaseException) -> str:
    """What an error says, in one line and without its type.

    Of one that a data loading worker raised, which comes with the worker's stack, it is the last line. The message of
    an error without any is the name of its type.
    """
    text = str(error.args[0] if type(error) is KeyError and error.args else error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if 'Traceback (most recent call last):' in text:
        return lines[-1].split('Error: ', 1)[-1]
    return lines[0]
