# segment-tiles as a container, for CPU or for CUDA:
#
#   docker build --build-arg DEVICE=cpu  --tag segment-tiles:cpu  .
#   docker build --build-arg DEVICE=cuda --tag segment-tiles:cuda .
#   docker run --rm --volume "$PWD:/data" --user "$(id -u):$(id -g)" segment-tiles:cpu demo --out demo
#   docker run --rm --gpus all --volume "$PWD:/data" segment-tiles:cuda run scene.tif --model canopy --out result
#
# The CUDA libraries come with PyTorch's wheels, so both variants have the same small base; the machine
# needs NVIDIA's driver and container toolkit for the second.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ARG DEVICE=cuda
# optional dependencies of pyproject.toml, separated by commas
ARG EXTRAS=slides,medical
ARG UV_VERSION=0.13.9
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/segment-tiles
RUN python -m pip install --no-cache-dir "uv==${UV_VERSION}" && uv venv "${VIRTUAL_ENV}"
WORKDIR /source
COPY requirements.lock requirements-crf.lock .ci/other_torch.awk ./
# The locks as constraints: exact versions, hashes checked, and of all that they list only what a run needs.
# PyTorch's builds for CPU have hashes that the locks do not know: there the version alone is kept.
RUN cat requirements.lock requirements-crf.lock > locks.txt \
    && case "${DEVICE}" in \
      cuda) cp locks.txt constraints.txt ;; \
      cpu) awk -f other_torch.awk locks.txt > constraints.txt ;; \
      *) echo "DEVICE is '${DEVICE}'; it must be cpu or cuda" >&2; exit 2 ;; \
    esac
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY segment_tiles segment_tiles
COPY pipeline pipeline
COPY workflows workflows
COPY cli cli
RUN if [ "${DEVICE}" = cpu ]; then export UV_TORCH_BACKEND=cpu; fi \
    && uv pip install --no-cache --constraint constraints.txt ".[${EXTRAS}]"

FROM python:${PYTHON_VERSION}-slim-bookworm
# GDAL's wheels want the system's expat. A pinned version would vanish from the archive with the next
# security fix and break the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin segmenter
COPY --from=build /opt/segment-tiles /opt/segment-tiles
# Caches go where any user may write: --user may name one that this image does not know.
ENV PATH=/opt/segment-tiles/bin:${PATH} \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /data
ENTRYPOINT ["segment-tiles"]
CMD ["--help"]
