"""Does a server work? ``python -m server.smoke --url URL`` asks it its own example and looks at the answers.

It ends with 0 and one line where all is as it should be, and with the reason and 1 where it is not.
"""

import argparse
import os
import sys
import time
from statistics import median

from server.client import ApiError, Client
from server.prediction import Prediction

_ROUNDING = 1e-3
"""How far probabilities may be from a sum of 1: they are written with nine digits each, and there may be thousands."""


def main(arguments: list[str] | None = None) -> int:
    """Ask, look, and say in one line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m server.smoke", description=__doc__)
    parser.add_argument("--url", required=True, help="of the server, as http://localhost:8000")
    parser.add_argument("--requests", type=int, default=3, help="predictions to ask for, one after the other")
    flags = parser.parse_args(arguments)
    try:
        print(smoke(flags.url, flags.requests))
    except (ApiError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def smoke(url: str, n_requests: int) -> str:
    """Ask a server its own example; with the key that EVENTMODEL_API_KEY holds, where it is set.

    Returns:
        What was seen, in one line.

    Raises:
        ApiError: a request was not answered.
        ValueError: an answer is wrong.
    """
    if n_requests < 1:
        raise ValueError("--requests must be at least 1")
    seconds = []
    with Client(url, api_key=os.environ.get("EVENTMODEL_API_KEY")) as client:
        info = client.info()
        for _ in range(n_requests):
            started = time.monotonic()
            answer = client.predict(info["example"])
            seconds.append(time.monotonic() - started)
            check(answer, info["model"]["version"], info["example"].get("horizon", 1))
    model = info["model"]
    return f"ok: {model['name']} {model['version']}, {n_requests} predictions, median {1000 * median(seconds):.0f} ms"


def check(answer: Prediction, version: str, horizon: int) -> None:
    """Raise a ValueError unless it is what was asked for, in probabilities that add up to 1."""
    if answer["model"]["version"] != version:
        raise ValueError(f"model {answer['model']['version']} answers, but the server names {version}")
    if len(answer["events"]) != horizon:
        raise ValueError(f"{len(answer['events'])} events were predicted in place of {horizon}")
    for i, event in enumerate(answer["events"]):
        if not event["categories"]:
            raise ValueError(f"event {i} has no probabilities")
        for name, distribution in event["categories"].items():
            total = sum(value["probability"] for value in distribution["top"])
            total += distribution["unknown"] + distribution["rest"]
            if not abs(total - 1) <= _ROUNDING:  # nan neither
                raise ValueError(f"the probabilities of {name} in event {i} add up to {total:.6g}")


if __name__ == "__main__":
    sys.exit(main())
