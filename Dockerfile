# CUDA runtime and innflow from a wheel, without root. See docs/containers.md for building and running.
FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04 AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/innflow
ENV PATH=/opt/innflow/bin:$PATH
COPY constraints.txt /opt/innflow/
# The constraints also apply to the build dependencies of wheels.
ENV PIP_CONSTRAINT=/opt/innflow/constraints.txt \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY conf ./conf
COPY examples/own_parts ./examples/own_parts
RUN pip wheel --no-deps --wheel-dir /dist .

FROM base AS runtime
ARG EXTRAS=embeddings,parquet,stream,tensorboard
COPY --from=wheel /dist /tmp/dist
RUN pip install "$(echo /tmp/dist/innflow-*.whl)[$EXTRAS]"
# The container may run as any user, usually that of the host: hence a user name, a home and folders writable by all.
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

# For AWS Batch: each job of an array runs one run of a sweep.
FROM runtime AS batch
COPY container/batch/job.py /opt/innflow/job.py
ENTRYPOINT ["python", "/opt/innflow/job.py"]

# `docker build .` builds the last stage.
FROM runtime AS train
ENTRYPOINT ["innflow-train"]
