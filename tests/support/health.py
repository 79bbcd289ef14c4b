"""An operator's health, as the kubelet asks for it."""

from aiohttp import ClientConnectionError, ClientSession


async def ask(port: int, path: str) -> tuple[int, str]:
    """Status and text; 0 where nobody answers."""
    try:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, (await answer.text()).strip()
    except ClientConnectionError:
        return 0, ""
