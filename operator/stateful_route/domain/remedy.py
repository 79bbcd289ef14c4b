"""What to do about a store that cannot be used, by what it, or the way to it, has said."""

import re

from stateful_route.domain.errors import AuthenticationFailed, Deposed, StoreUnavailable

Cures = tuple[tuple[str, str], ...]
"""A pattern of the message, and what to do; empty: the message says it, or it passes. The first that fits counts."""

OF_A_LOGIN: Cures = (
    (r"no Sentinel tells", "give the Sentinels' own login in the URL: sentinel_password=… or sentinel_password_file=…"),
    (r"the file of \w+ cannot be used", "see that the file is there, and that this process may read it"),
    (
        r"[Nn]o permissions|NOPERM|ACL failure|user executing the script",
        "give the store's user the permissions of docs/tenants.md",
    ),
    (r"", "correct the user or password in the store's URL, or in the file that it names"),
)
OF_THE_WAY: Cures = (
    (r"is not valid for", "write a host into the URL that the certificate names, or renew it for this one"),
    (r"certificate has expired|not yet valid", "renew the server's certificate, or correct this machine's clock"),
    (r"certificate required", "give a certificate of the client: ssl_certfile=… and ssl_keyfile=…"),
    (
        r"certificate verify failed",
        "give the authority that signed it, ?ssl_ca_certs=PATH in the URL (the chart's redis.caSecret mounts it)",
    ),
    (r"TLS: .*\bssl_", "correct the path in the URL, or see that the file is there, readable and in PEM form"),
    (r"read-only replica|slot of the key is being moved|\bLOADING |\bBUSY ", ""),
    (r"min-replicas-to-write", "see that its replicas run and keep up: it takes writes again as soon as they do"),
    (r"begin the URL with rediss", "see that it runs and that the URL fits it"),
    (r"knows no primary of that name", "correct the name after the host in the URL: Sentinels watch no such primary"),
    (r"cannot reach the primary so far", "see that the primary runs and that the Sentinels reach it"),
    (r"no Sentinel tells", "see that the Sentinels run and that this process reaches them"),
    (r"does not resolve", "correct the host's name in the URL, or see that the DNS here knows it"),
    (r"connection refused", "see that it runs, and that host and port in the URL are right"),
    (r"^rediss", "see that it runs, that this process reaches it, and that it speaks TLS; without TLS it is redis://…"),
    (
        r"^redis",
        "see that it runs and that this process reaches it (address, network policy); with TLS it is rediss://…",
    ),
    (r"", "see that it runs and that this process reaches it"),
)


def remedy(error: Exception) -> str:
    """What to do, as a clause without a full stop; empty: the message says it, it passes, or nothing is known."""
    match error:
        case AuthenticationFailed():
            cures = OF_A_LOGIN
        case StoreUnavailable() if not isinstance(error, Deposed):
            cures = OF_THE_WAY
        case _:
            return ""
    return next(cure for said, cure in cures if re.search(said, str(error)))
