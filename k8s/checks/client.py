"""Ask a server its own example and check the answer: python client.py URL.

It ends with 0 where all is as it should be, with the reason and 1 where it is not. It needs Python alone.
"""

import json
import os
import sys
import urllib.error
import urllib.request

HEADERS = {"content-type": "application/json"} | (
    {"X-API-Key": os.environ["EVENTMODEL_API_KEY"]} if "EVENTMODEL_API_KEY" in os.environ else {}
)


def main(url: str) -> int:
    """Ask and check; returns the exit status."""
    operation = ask(f"{url}/openapi.json")["paths"]["/predict"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    answer = ask(f"{url}/predict", json.dumps(example).encode())
    if not is_distribution(answer):
        print("error: the probabilities of the answer do not add up to 1", file=sys.stderr)
        return 1
    print(f"{url} answers for model {answer['model']['name']}, version {answer['model']['version']}")
    return 0


def ask(url: str, body: bytes | None = None) -> dict:
    """What a GET, or with a body a POST, answers.

    Raises:
        SystemExit: another status than 200, or nothing at all.
    """
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, HEADERS), timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        hint = "; is EVENTMODEL_API_KEY right?" if error.code == 401 else f": {error.read().decode()}"
        raise SystemExit(f"error: {url} answers {error.code}{hint}") from None
    except OSError as error:
        raise SystemExit(f"error: {url}: {error}") from None


def is_distribution(answer: dict) -> bool:
    """Whether each category's probabilities, the unknown and the rest included, add up to 1."""
    categories = [category for event in answer["events"] for category in event["categories"].values()]
    sums = [sum(v["probability"] for v in c["top"]) + c["unknown"] + c["rest"] for c in categories]
    return bool(sums) and all(abs(total - 1) < 1e-3 for total in sums)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
