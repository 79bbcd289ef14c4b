"""The entry point ``stateful-route``; standard library only, so that it can say which extra is missing."""

import sys

USAGE_ERROR = 2


def main() -> int:
    """Run the command line; without the extra ``cli`` say what to install and exit 2."""
    if sys.argv[1:2] == ["wait-drained"]:  # for containers that have no extra
        from stateful_route.cli.inspect.wait_drained import main as wait_drained

        return wait_drained(sys.argv[2:])
    try:
        from stateful_route.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "stateful_route":
            raise
        sys.stderr.write(
            f"stateful-route: the command line needs the package {error.name!r}, which is not installed.\n"
            "Install it with:  pip install 'stateful-route[operator]'\n"
        )
        return USAGE_ERROR
    return run()


def complete() -> int:
    """Complete a command line of the kubectl plugin; without the extra ``cli`` there is nothing to propose."""
    try:
        from stateful_route.cli.app import complete as propose
    except ModuleNotFoundError:
        return USAGE_ERROR
    return propose()


if __name__ == "__main__":
    sys.exit(main())
