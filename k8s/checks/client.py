"""Ask a server its own example, once or many times, and check every answer: python client.py URL [--help].

It ends with 0 where all is as it should be, with the reason and 1 where it is not, and prints what it measured
as JSON. It needs Python alone.
"""

import argparse
import http.client
import json
import math
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from statistics import quantiles
from urllib.parse import urlsplit

HEADERS = {"content-type": "application/json"} | (
    {"X-API-Key": os.environ["EVENTMODEL_API_KEY"]} if "EVENTMODEL_API_KEY" in os.environ else {}
)


def main() -> int:
    """Ask, print, and compare with what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--connections", type=int, default=1, help="each sends its next request after an answer")
    parser.add_argument("--most-failed", type=float, default=0, help="largest share of requests without an answer")
    parser.add_argument("--slowest-s", type=float, default=math.inf, help="largest 99th percentile")
    flags = parser.parse_args()
    address = urlsplit(flags.url).netloc
    body = json.dumps(example(address)).encode()
    numbers = count()
    started = time.monotonic()

    def ask_again_and_again(_: int) -> list[tuple[str, float]]:
        connection, seen = http.client.HTTPConnection(address, timeout=60), []
        while next(numbers) < flags.requests:
            seen.append(ask(connection, body))
        return seen

    with ThreadPoolExecutor(flags.connections) as pool:
        seen = [one for some in pool.map(ask_again_and_again, range(flags.connections)) for one in some]
    took = time.monotonic() - started
    faults = [fault for fault, _ in seen if fault]
    seconds = [duration for fault, duration in seen if not fault] or [math.nan]
    percentiles = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    print(
        json.dumps(
            {
                "requests": len(seen),
                "failed": len(faults),
                "requests_per_second": round(len(seen) / took, 1),
                "seconds": {f"p{p}": round(percentiles[p - 1], 4) for p in (50, 95, 99)},
                "faults": {fault: faults.count(fault) for fault in set(faults)},
            }
        )
    )
    if len(faults) > flags.most_failed * len(seen):
        return complain(f"{len(faults)} of {len(seen)} requests were not answered as they should be")
    if not percentiles[98] <= flags.slowest_s:
        return complain(f"the 99th percentile is {percentiles[98]:.3f} s, over {flags.slowest_s} s")
    return 0


def example(address: str) -> object:
    """The request that the server's own documentation shows."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/openapi.json", headers=HEADERS)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"error: GET /openapi.json answers {answer.status}; is EVENTMODEL_API_KEY right?")
    operation = json.load(answer)["paths"]["/predict"]["post"]
    return operation["requestBody"]["content"]["application/json"]["example"]


def ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[str, float]:
    """What is wrong with one answer, "" for nothing, and how many seconds it took."""
    started = time.monotonic()
    try:
        connection.request("POST", "/predict", body, HEADERS)
        answer = connection.getresponse()
        content = json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()  # the next request opens it again
        return type(error).__name__, time.monotonic() - started
    took = time.monotonic() - started
    if answer.status != 200:
        return f"{answer.status} {content['error']['code']}", took
    return ("" if is_distribution(content) else "probabilities do not add up to 1"), took


def is_distribution(answer: dict) -> bool:
    """Whether each category's probabilities, the unknown and the rest included, add up to 1."""
    categories = [category for event in answer["events"] for category in event["categories"].values()]
    sums = [sum(v["probability"] for v in c["top"]) + c["unknown"] + c["rest"] for c in categories]
    return bool(sums) and all(abs(total - 1) < 1e-3 for total in sums)


def complain(message: str) -> int:
    """Say why it ends with 1."""
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
