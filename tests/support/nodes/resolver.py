"""A name server for Services: ``python resolver.py ADDRESS API_URL PKI_FOLDER``. The API server is asked for each name.

It knows ``<service>.<namespace>.svc.cluster.local`` alone: the address of the Service, or those of its endpoints where
it is headless. Standard library only.
"""

import http.client
import json
import socket
import ssl
import struct
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

ZONE: Final = ("svc", "cluster", "local")
A: Final = 1
NO_SUCH_NAME: Final = 3
FAILED: Final = 2
SECONDS: Final = 5.0
TTL_SECONDS: Final = 1


class Names:
    """Answers with what the API server says just now."""

    def __init__(self, url: str, pki: Path) -> None:
        self._host = urlsplit(url).netloc
        self._context = ssl.create_default_context(cafile=pki / "ca.crt")
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def find(self, name: str) -> list[str] | None:
        """The addresses; None: there is no such name."""
        labels = name.lower().rstrip(".").split(".")
        if len(labels) != len(ZONE) + 2 or tuple(labels[2:]) != ZONE:
            return None
        service, namespace = labels[:2]
        body = self._get(f"/api/v1/namespaces/{namespace}/services/{service}")
        if body is None:
            return None
        if (address := body["spec"].get("clusterIP")) not in {None, "", "None"}:
            return [address]
        query = f"labelSelector=kubernetes.io%2Fservice-name%3D{service}"
        slices = self._get(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{query}")
        return [
            address
            for one in (slices or {}).get("items", ())
            for endpoint in one.get("endpoints") or ()
            if endpoint["conditions"].get("ready") is not False
            for address in endpoint["addresses"]
        ]

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status == http.client.NOT_FOUND:
                return None
            body = json.load(answer)
            if answer.status != http.client.OK:
                raise OSError(f"{path}: {answer.status}")
            return body
        finally:
            connection.close()


def answer(names: Names, question: bytes) -> bytes:
    """A reply to one question, as RFC 1035 has it."""
    labels, place = [], 12
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    kind = struct.unpack("!H", question[place + 1 : place + 3])[0]
    asked = question[12 : place + 5]
    code, found = 0, []
    try:
        addresses = names.find(".".join(labels))
        if addresses is None:
            code = NO_SUCH_NAME
        elif kind == A:
            found = addresses
    except (OSError, ValueError, KeyError):
        code = FAILED
    head = question[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(found), 0, 0)
    records = (struct.pack("!HHHIH", 0xC00C, A, 1, TTL_SECONDS, 4) + socket.inet_aton(one) for one in found)
    return head + asked + b"".join(records)


def main() -> None:
    address, url, pki = sys.argv[1:]
    names = Names(url, Path(pki))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((address, 53))
        while True:
            question, sender = line.recvfrom(4096)
            try:
                line.sendto(answer(names, question), sender)
            except (IndexError, struct.error):
                continue


if __name__ == "__main__":
    main()
