"""The command that a kubeconfig names to get credentials from, such as ``aws eks get-token``."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

PLUGIN_SECONDS = 60.0
"""For one run: some ask a person. A plugin that takes longer is killed."""
SHOWN_LETTERS = 300
"""Of what a plugin that failed has printed on stderr."""


class PluginFailed(Exception):  # noqa: N818  names the fact
    """The plugin gave no credentials; the message names the command and the cause, and no credential."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a plugin gave: a token, or a client certificate and its key, both as PEM.

    Attributes:
        token: None: there is none.
        certificate: None: there is none.
        key: None: there is none.
        expires: Seconds since the epoch; None: the plugin does not say.
    """

    token: str | None
    certificate: str | None
    key: str | None
    expires: float | None


async def ask_plugin(spec: Mapping[str, Any]) -> Issued:
    """Run the plugin of a kubeconfig's ``user.exec``.

    Raises:
        PluginFailed: it cannot be started, fails, takes more than `PLUGIN_SECONDS`, or prints no credentials.
    """
    command = str(spec.get("command") or "")
    if not command:
        raise PluginFailed("the kubeconfig's exec plugin has no command")
    version = str(spec.get("apiVersion") or "")
    interactive = sys.stdin.isatty() and spec.get("interactiveMode") != "Never"
    said = {entry["name"]: entry["value"] for entry in spec.get("env") or ()}
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": interactive}}
    environment = {**os.environ, **said, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    words = [command, *map(str, spec.get("args") or ())]
    return issued(command, version, await _printed(words, environment, interactive=interactive))


def issued(command: str, version: str, printed: bytes) -> Issued:
    """What the plugin has printed: an ExecCredential.

    Raises:
        PluginFailed: it is none, or one without credentials.
    """
    try:
        answer = json.loads(printed)
        status = answer["status"]
        token, certificate, key = (
            status.get(name) or None for name in ("token", "clientCertificateData", "clientKeyData")
        )
        text = status.get("expirationTimestamp")
        expires = datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PluginFailed(f"the exec plugin {command!r} did not print an ExecCredential with a status") from None
    if answer.get("apiVersion") != version:
        raise PluginFailed(
            f"the exec plugin {command!r} answered in apiVersion {answer.get('apiVersion')!r}, "
            f"the kubeconfig asks for {version!r}"
        )
    if token is None and (certificate is None or key is None):
        raise PluginFailed(f"the exec plugin {command!r} printed neither a token nor a client certificate with its key")
    return Issued(token and str(token).strip(), certificate, key, expires)


async def _printed(words: Sequence[str], environment: Mapping[str, str], *, interactive: bool) -> bytes:
    command, pipe = words[0], asyncio.subprocess.PIPE
    source = None if interactive else asyncio.subprocess.DEVNULL
    alone = not interactive  # a session of its own, that can be ended with all that it has started, and has no terminal
    try:
        process = await asyncio.create_subprocess_exec(
            *words, env=environment, stdin=source, stdout=pipe, stderr=pipe, start_new_session=alone
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PluginFailed(f"the exec plugin {command!r} cannot be started: {why}") from None
    try:
        async with asyncio.timeout(PLUGIN_SECONDS):
            printed, complaint = await process.communicate()
    except TimeoutError:
        raise PluginFailed(f"the exec plugin {command!r} gave nothing within {PLUGIN_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if alone else process.kill()
            await process.wait()
    if process.returncode:
        why = complaint.decode(errors="replace").strip()[-SHOWN_LETTERS:]
        raise PluginFailed(f"the exec plugin {command!r} ended with exit code {process.returncode}: {why or 'no word'}")
    return printed
