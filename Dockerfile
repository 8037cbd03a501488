# syntax=docker/dockerfile:1
# docker build --target server .                              for a GPU
# docker build --target server --build-arg ACCELERATOR=cpu .  without one; TORCH_INDEX, below, for a torch without CUDA
# docker build --target trainer .                             the same for training and export
# docker build --target loadtest .                            what asks a server: the smoke test and the load test
ARG PYTHON=3.11.15-slim-bookworm
# the extra of pyproject.toml that brings ONNX Runtime: gpu or cpu
ARG ACCELERATOR=gpu

FROM python:${PYTHON} AS base
ENV PATH=/opt/eventmodel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1

FROM base AS build
# where torch comes from; empty is pip's own index, whose torch brings CUDA on x86 and takes gigabytes. It is asked beside
# that one: it has not every version of what torch depends on, and its 2.13.0+cpu is newer than 2.13.0
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/eventmodel
COPY constraints.txt ./
# first and apart: code changes more often
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} torch
COPY . .

FROM build AS build-server
ARG ACCELERATOR
RUN pip install --constraint constraints.txt ".[serve,check,${ACCELERATOR}]"

FROM build AS build-trainer
ARG ACCELERATOR
RUN pip install --constraint constraints.txt ".[train,export,${ACCELERATOR}]"

# without torch: it asks a server
FROM base AS build-loadtest
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/eventmodel
COPY . .
RUN pip install --constraint constraints.txt ".[loadtest,client]"

FROM base AS runtime
ARG REVISION=""
LABEL org.opencontainers.image.title="Event predictor" \
      org.opencontainers.image.description="Learns from an operational event log and serves, with probabilities, what happens next." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin eventmodel
# the packages are compiled when they are installed; a read-only root takes no more
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# all that is written beside what is mounted: counters and sockets of the server, caches of the trainer
VOLUME ["/tmp"]

FROM runtime AS trainer
COPY --from=build-trainer /opt/eventmodel /opt/eventmodel
USER 10001:10001
# what to run comes after it: training.prepare, training.run, export.run, ...
ENTRYPOINT ["python", "-m"]
CMD ["training.run", "--help"]

FROM runtime AS loadtest
COPY --from=build-loadtest /opt/eventmodel /opt/eventmodel
COPY benchmarks /opt/loadtest/benchmarks
ENV PYTHONPATH=/opt/loadtest
USER 10001:10001
ENTRYPOINT ["locust", "--headless", "--locustfile", "/opt/loadtest/benchmarks/loadtest/locustfile.py"]

FROM runtime AS server
COPY --from=build-server /opt/eventmodel /opt/eventmodel
ENV EVENTMODEL_BUNDLE=/bundle \
    EVENTMODEL_PORT=8000 \
    EVENTMODEL_LOG_FORMAT=json
EXPOSE 8000
USER 10001:10001
# the port opens when the model is loaded
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://localhost:{os.environ[\"EVENTMODEL_PORT\"]}/live', timeout=4)"]
# no shell between: as process 1 it gets SIGTERM itself, answers what it has, and exits 0
ENTRYPOINT ["python", "-m", "server.run"]
