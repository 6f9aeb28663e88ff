# The bot as it is installed from this folder. Settings come from the environment; the embedded
# CPU model is not in the image: MODEL_URL names a server, or a volume holds the fetched model.
FROM python:3.11.14-slim-bookworm

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE THIRD_PARTY_NOTICES.md ./
COPY bot bot
COPY db db
COPY inference inference
COPY migrations migrations
COPY training training
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && useradd --create-home --uid 10001 deepbot \
    && install -d -o deepbot /data
USER deepbot
WORKDIR /data
ENV LISTEN=0.0.0.0:8081 LOG_FORMAT=json
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8081/healthz', timeout=4)"]
ENTRYPOINT ["deepbot"]
CMD ["bot"]
