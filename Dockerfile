# CUDA runtime, innflow from its own wheel, no root.
#   docker build -t innflow .
#   docker run --gpus all -v $PWD/data:/data -v $PWD/outputs:/outputs innflow +experiment=cats_ood data.root=/data
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY conf ./conf
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /dist .

FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --shell /usr/sbin/nologin flow \
 && install -d -o flow -g flow /outputs /data /cache
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /dist /tmp/dist
RUN python3 -m venv /opt/innflow \
 && /opt/innflow/bin/pip install --no-cache-dir -c /tmp/constraints.txt /tmp/dist/*.whl
ENV PATH=/opt/innflow/bin:$PATH \
    INNFLOW_DATA=/data \
    INNFLOW_CACHE=/cache \
    MPLCONFIGDIR=/cache/matplotlib
USER flow
WORKDIR /
VOLUME ["/data", "/cache", "/outputs"]
ENTRYPOINT ["innflow-train"]
