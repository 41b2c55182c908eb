"""What a command tells the person at the terminal: on stderr, plain lines when there is none."""

from collections.abc import Callable

Say = Callable[[str], None]


def to_stderr() -> Say:
    """A function that prints one line of progress."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

    def say(line: str) -> None:
        console.print(line)

    return say
