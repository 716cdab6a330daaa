# docker build --target cpu --tag vtinsert .
# docker build --target cuda --tag vtinsert:cuda .
# docker run --rm --volume "$PWD/outputs:/experiments/outputs" vtinsert vtinsert demo --output outputs/demo
# docker run --rm --gpus all vtinsert:cuda vtinsert doctor

FROM python:3.11-slim AS base
# The first three draw pictures for people without a display; git tells results their commit.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libopengl0 libgl1-mesa-dri git \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv
ENV UV_SYSTEM_PYTHON=1 UV_NO_CACHE=1
COPY . /vtinsert
WORKDIR /vtinsert

FROM base AS cuda
RUN uv pip install --constraints docs/tested-versions.txt --editable ".[all,warp]"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
WORKDIR /experiments
CMD ["vtinsert", "doctor"]

FROM base AS cpu
RUN uv pip install --torch-backend cpu --constraints docs/tested-versions.txt --editable ".[all]"
WORKDIR /experiments
CMD ["vtinsert", "doctor"]
