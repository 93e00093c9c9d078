# CUDA runtime, innflow from its own wheel, no root. docs/containers.md says how to build and run it.
FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04 AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/innflow
ENV PATH=/opt/innflow/bin:$PATH
COPY constraints.txt /opt/innflow/
# Also for what pip installs to build a wheel with.
ENV PIP_CONSTRAINT=/opt/innflow/constraints.txt \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY conf ./conf
RUN pip wheel --no-deps --wheel-dir /dist .

FROM base AS runtime
ARG EXTRAS=embeddings,parquet,stream,tensorboard
COPY --from=wheel /dist /tmp/dist
RUN pip install "$(echo /tmp/dist/innflow-*.whl)[$EXTRAS]"
# Any user may be chosen, that of the host above all: so there is a name, a home and places to write.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin flow \
 && install -d -m 1777 /data /cache /runs
ENV USER=flow \
    HOME=/cache \
    INNFLOW_DATA=/data \
    INNFLOW_CACHE=/cache/innflow \
    TORCH_HOME=/cache/torch \
    MPLCONFIGDIR=/cache/matplotlib
USER 10001
WORKDIR /runs
VOLUME ["/data", "/cache", "/runs"]

# For AWS Batch: one job of an array picks its own of a sweep's runs.
FROM runtime AS batch
COPY container/batch/job.py /opt/innflow/job.py
ENTRYPOINT ["python", "/opt/innflow/job.py"]

# The last stage is what `docker build .` makes.
FROM runtime AS train
ENTRYPOINT ["innflow-train"]
