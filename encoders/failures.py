"""What the exceptions of other libraries say, for a message or a record of ours."""


def first_line(err: BaseException) -> str:
    """The first line of what it says, which is one sentence; its type where it says nothing."""
    return (str(err).strip() or type(err).__name__).splitlines()[0]
