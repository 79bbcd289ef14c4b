"""What to do about a store that cannot be used is what helps there, and nothing where nothing is known to help."""

import pytest

from stateful_route.domain.errors import AuthenticationFailed, Deposed, StoreRejected, StoreUnavailable, UnfitServer
from stateful_route.domain.remedy import remedy
from stateful_route.store.connection import Store

PLAIN, TLS, SENTINELS = "redis://oracle:6379", "rediss://v:6379?ssl_ca_certs=***", "redis+sentinel://a,b/main"
VERIFY = "TLS: certificate verify failed: "

CASES = {
    "refused": (StoreUnavailable(f"{PLAIN}: connection refused"), "host and port"),
    "no answer": (StoreUnavailable(f"{PLAIN}: no answer within 3 s"), "rediss://"),
    "no answer by TLS": (StoreUnavailable(f"{TLS}: timed out"), "without TLS"),
    "no such name": (StoreUnavailable(f"{PLAIN}: the host's name does not resolve (x)"), "DNS"),
    "an unknown authority": (StoreUnavailable(f"{TLS}: {VERIFY}self-signed certificate"), "ssl_ca_certs="),
    "another name": (
        StoreUnavailable(f"{TLS}: {VERIFY}Hostname mismatch, certificate is not valid for 'v'."),
        "that the certificate names",
    ),
    "an old certificate": (StoreUnavailable(f"{TLS}: {VERIFY}certificate has expired"), "renew"),
    "no certificate of ours": (StoreUnavailable(f"{TLS}: TLS: tlsv13 alert certificate required"), "ssl_certfile"),
    "a file that is missing": (
        StoreUnavailable(f"{TLS}: TLS: a file of the URL's ssl_ settings cannot be read (No such file)"),
        "path",
    ),
    "a replica": (StoreUnavailable(f"{PLAIN}: v:6379 is a read-only replica of p:6379: use the primary's"), None),
    "a slot on the move": (StoreUnavailable(f"{PLAIN}: the slot of the key is being moved between nodes"), None),
    "an unknown set": (
        StoreUnavailable(f"{SENTINELS}: no Sentinel tells where it is: a knows no primary of that name"),
        "no such primary",
    ),
    "dead Sentinels": (
        StoreUnavailable(f"{SENTINELS}: no Sentinel tells where the primary of 'x' is: a: timed out"),
        "Sentinels run",
    ),
    "a password of Sentinels": (
        AuthenticationFailed(f"{SENTINELS}: no Sentinel tells where the primary is: a: Sentinel wants a password"),
        "sentinel_password",
    ),
    "a wrong password": (AuthenticationFailed(f"{PLAIN}: wrong user or password"), "correct the user or password"),
    "a file of a password": (
        AuthenticationFailed(f"{PLAIN}: the file of password_file cannot be used: /x: No such file"),
        "may read it",
    ),
    "no permission": (AuthenticationFailed(f"{PLAIN}: ACL failure in script: No permissions to x"), "tenants.md"),
    "a deadline that has passed": (Deposed(f"{PLAIN}: DEPOSED the deadline has passed"), None),
    "a command that is refused": (StoreRejected(f"{PLAIN}: OOM command not allowed"), None),
    "another kind of server": (UnfitServer(f"{PLAIN}: it is no node of a Redis Cluster, use redis://"), None),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_what_helps(case):
    error, says = CASES[case]
    assert (says in remedy(error)) if says else not remedy(error)
    assert not remedy(error).endswith(".")


async def fails(url):
    store = Store.from_url(url)
    try:
        with pytest.raises((StoreUnavailable, StoreRejected)) as failed:
            await store.command("PING")
    finally:
        await store.close()
    return failed.value


async def test_what_a_real_socket_and_a_real_server_say_is_understood(server):
    assert "host and port" in remedy(await fails("redis://127.0.0.1:1"))
    assert "correct the user" in remedy(await fails(server.url.replace("redis://", "redis://nobody:x@")))
    assert "path" in remedy(await fails(server.url.replace("redis://", "rediss://") + "?ssl_ca_certs=/nowhere.pem"))
    assert "Sentinels run" in remedy(await fails("redis+sentinel://127.0.0.1:1/main"))
