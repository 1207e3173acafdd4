# Two images of one build, both for an unprivileged user and a root that cannot be written:
#   docker build -t flowport .                          # MCP on standard input and output
#   docker run -i --rm -e MAGNIFIC_API_KEY -v flowport:/data flowport
#   docker build -t flowport-server --target server .   # the team server; deploy/compose.yaml runs it behind Caddy
# The base image is pinned by its tag and not by its digest. `make docker-proof` tries these steps without a container engine.
FROM python:3.13.18-slim-trixie AS build
WORKDIR /build
COPY pyproject.toml requirements-team.lock README.md LICENSE ./
RUN python -m venv /opt/flowport \
 && /opt/flowport/bin/pip install --no-cache-dir --require-hashes -r requirements-team.lock
COPY src ./src
RUN /opt/flowport/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13.18-slim-trixie AS base
RUN useradd --create-home --uid 10001 flowport
RUN install -d -m 0700 -o flowport /data
COPY --from=build /opt/flowport /opt/flowport
USER flowport
ENV FLOWPORT_HOME=/data/home FLOWPORT_OUTPUT_DIR=/data/outputs FLOWPORT_FILE_ROOTS=/data XDG_CONFIG_HOME=/data/config
ENV PYTHONDONTWRITEBYTECODE=1
VOLUME /data
ENTRYPOINT ["/opt/flowport/bin/flowport"]

FROM base AS server
EXPOSE 8765
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["/opt/flowport/bin/python", "-c", "import urllib.request; urllib.request.build_opener(urllib.request.ProxyHandler({})).open('http://127.0.0.1:8765/healthz', timeout=4)"]
CMD ["serve", "--http", "0.0.0.0:8765"]

FROM base AS stdio
