"""When many who want to know one thing each are told everything at once."""

OBJECTS_PER_REQUEST = 20
"""To read so many objects in one list costs about as much as one more request."""


def is_worth_a_list(asking: int, objects: int) -> bool:
    """Whether one list of everything costs less than as many requests as somebody asks for.

    Args:
        asking: How many ask, each for its own.
        objects: About how many there are in all; 0: nobody knows.
    """
    return asking > 1 and asking * OBJECTS_PER_REQUEST >= objects
