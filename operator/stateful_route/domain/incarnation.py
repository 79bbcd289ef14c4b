"""Which life of a routed process this is."""

from typing import NamedTuple, Self


class Incarnation(NamedTuple):
    """One life of the routed process: a successor pod has another uid, a restarted container another count."""

    pod_uid: str
    restarts: int

    def __str__(self) -> str:
        return f"{self.pod_uid}/{self.restarts}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``; a text without a count (a foreign one) counts as the first life."""
        pod_uid, _, restarts = text.rpartition("/")
        return cls(pod_uid, int(restarts)) if pod_uid and restarts.isdigit() else cls(text, 0)
