"""The OpenAPI document: what ``POST /predict`` and ``GET /info`` take and answer, with a request that works."""

from typing import Any

from fastapi import FastAPI

from eventmodel.bundle import Bundle
from server.json_schema import Json, request_schema, response_schema

_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "loc", "message", "hint"],
            "properties": {
                "code": {"type": "string", "description": "What is wrong, in a word that programs can test for."},
                "loc": {"type": "string", "examples": ["streams.Actor[0].events[3].EventDatetime"]},
                "message": {"type": "string"},
                "hint": {"type": "string", "description": "What to send instead."},
            },
        }
    },
}
_ERRORS = {
    "400": "The body ends early, or X-Request-Timeout is no number of seconds.",
    "413": "The body is over the limit.",
    "415": "The body is compressed.",
    "422": "The request is wrong at the place that loc names.",
    "500": "The model failed on this request.",
    "503": "As many requests wait as may.",
    "408": "The body had not arrived in time.",
    "504": "The request was not answered in time.",
}
_UNAUTHORIZED = {"401": "No key, or not the right one."}
_REQUEST_ID: Json = {"schema": {"type": "string"}, "description": "The request's name, to find it in the server's log."}
_CARD = {
    "model": "Its name, its version, and those of the libraries that exported it.",
    "schema": "The fields of an event, the streams of histories, and the focus.",
    "categories": "What is predicted of each event, and how many values each knows, unknown included.",
    "measured": "How often each most probable value was right when training ended, and the loss in nats; or null.",
    "limits": "The most that one request may ask for and hold.",
    "example": "A request that works.",
}
_PARAMETERS = [
    {"name": "X-Request-ID", "in": "header", **_REQUEST_ID},
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "Seconds that the sender waits; at most the server's own timeout.",
    },
]


def describe(app: FastAPI, bundle: Bundle, path: str, info_path: str, has_key: bool) -> None:
    """Put what FastAPI cannot derive into the app's OpenAPI document: it is told nothing of our routes.

    Args:
        path: of predictions.
        info_path: of the model's card.
        has_key: whether requests need one.
    """
    generate = app.openapi

    def openapi() -> Json:
        document = generate()
        document["info"] |= {"title": f"Event predictor: {bundle.name}", "version": bundle.version}
        predict: Json = {
            "operationId": "predict",
            "summary": "What happens next, with probabilities",
            "parameters": _PARAMETERS,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": request_schema(bundle), "example": bundle.example}},
            },
            "responses": {
                "200": _response(
                    "One entry per future event; entropy and surprise are in nats.", response_schema(bundle.schema)
                )
            },
        }
        card: Json = {
            "operationId": "info",
            "summary": "The model, its schema, every limit of a request, and an example",
            "responses": {"200": _response("The model's card.", _card())},
        }
        errors = _ERRORS | (_UNAUTHORIZED if has_key else {})
        predict["responses"] |= {status: _response(text, _ERROR) for status, text in errors.items()}
        predict["responses"]["503"]["headers"]["Retry-After"] = {
            "schema": {"type": "integer"},
            "description": "Seconds after which it may be sent again.",
        }
        if has_key:
            card["responses"]["401"] = _response(_UNAUTHORIZED["401"], _ERROR)
            key = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            document["components"] = {"securitySchemes": {"key": key}}
            document["security"] = [{"key": []}]
        document["paths"] |= {path: {"post": predict}, info_path: {"get": card}}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _card() -> Json:
    kinds = {name: ["object", "null"] if name == "measured" else "object" for name in _CARD}
    described = {name: {"type": kinds[name], "description": text} for name, text in _CARD.items()}
    return {"type": "object", "required": list(_CARD), "properties": described, "additionalProperties": False}


def _response(description: str, schema: dict[str, Any]) -> Json:
    return {
        "description": description,
        "headers": {"X-Request-ID": _REQUEST_ID},
        "content": {"application/json": {"schema": schema}},
    }
