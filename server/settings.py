"""The server's settings: one list for flags, environment variables and the documentation."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from eventmodel.engine.backend import BackendName, DeviceName
from eventmodel.quoted import quoted

PREFIX = "EVENTMODEL_"
_OF_COMPOSE = {"EVENTMODEL_UID", "EVENTMODEL_GID"}
"""Which compose.yaml reads."""
MOST_S = 1e6
"""Of a time, which clocks and timers can still count; eleven days."""


def _check_key(key: SecretStr) -> SecretStr:
    if not re.fullmatch("[!-~]+", key.get_secret_value()):
        raise ValueError("it must be visible ASCII without blanks or ends of lines, or no header can carry it")
    return key


class Settings(BaseSettings):
    """Serve a bundle: POST /predict answers what happens next, with probabilities.

    Every flag is also an environment variable: EVENTMODEL_MAX_BATCH_SIZE for --max-batch-size.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        cli_prog_name="python -m server.run",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        use_attribute_docstrings=True,
    )

    bundle: Path
    """Directory that python -m export.run wrote."""
    backend: BackendName = "auto"
    """What runs the model; auto takes the fastest one that the bundle and the device allow."""
    device: DeviceName = "auto"
    """Where the model runs; auto takes a GPU where there is one."""
    threads: int = Field(default=1, ge=1)
    """Inference threads on a CPU. Keep them within the CPU request: more threads than free cores
    make a batch take seconds."""
    state_cache_mib: int = Field(default=256, ge=0)
    """Memory for the states of histories that were seen before; 0 keeps none."""
    host: Literal["0.0.0.0", "127.0.0.1", "::"] = "0.0.0.0"
    """Address to listen on: all, 127.0.0.1 (this machine only), or `::` (all, with IPv6)."""
    port: int = Field(default=8000, ge=1024, le=65535)
    """Port to listen on, from 1024 on: the server needs no privileges."""
    http_processes: int = Field(default=1, ge=1)
    """Processes that receive, check and parse requests."""
    max_batch_size: int = Field(default=32, ge=1)
    """Requests that the model answers together at most."""
    max_queue: int = Field(default=256, ge=1)
    """Requests in hand at most, over all HTTP processes: being received, waiting for the model, or being
    answered; one too many gets 503 at once. Waiting takes at most this many, divided by what the model answers
    in a second; bodies take at most this many times --max-body-bytes of memory."""
    max_body_bytes: int = Field(default=4_194_304, ge=1)
    """Largest request body; a larger one gets 413."""
    timeout_s: float = Field(default=30, gt=0, le=MOST_S)
    """Seconds from the end of a request's head to its answer; then it gets 504, or 408 where its body is still not
    there. The header X-Request-Timeout asks for less."""
    stuck_after_s: float = Field(default=60, gt=0, le=MOST_S)
    """Seconds that one step of a batch may take; a model process that takes longer is replaced."""
    shutdown_delay_s: float = Field(default=1, ge=0, le=MOST_S)
    """Seconds after SIGTERM in which /ready says 503 and requests are still taken: the time that load
    balancers need to notice."""
    api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = None
    """What the header X-API-Key must say; only /live, /ready, /metrics and the pages at / and /docs are open to all;
    those ask for it. Set it as EVENTMODEL_API_KEY: flags are seen by whoever lists the processes."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are logged: info has a line for each request that is refused, debug one for
    each that is answered or turned away. Logs hold nothing of a request's content."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or a JSON object a line; the image logs JSON."""


def read_settings(arguments: list[str] | None = None) -> Settings:
    """Settings from command line flags, then the environment, then the defaults.

    Args:
        arguments: flags; None takes those of this process.

    Raises:
        pydantic.ValidationError: a setting is missing or out of its range.
        SystemExit: an unknown flag, or --help.
    """
    return CliApp.run(Settings, cli_args=arguments)


def explain_settings(error: ValidationError) -> str:
    """What is wrong with which setting, a line each; a key is not shown."""
    lines = []
    for fault in error.errors():
        name = str(fault["loc"][0])
        given = "" if name == "api_key" or fault["type"] == "missing" else f", not {quoted(fault['input'])}"
        lines.append(f"--{name.replace('_', '-')}, or {PREFIX}{name.upper()}: {fault['msg']}{given}")
    return "\n".join(lines)


def misspelt_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables with the settings' prefix that are no settings."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _OF_COMPOSE
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
