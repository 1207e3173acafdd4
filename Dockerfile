# Flowport on standard input and output, as an unprivileged user:
#   docker build -t flowport .
#   docker run -i --rm -e MAGNIFIC_API_KEY -v flowport:/data flowport
# The base image is pinned by its tag and not by its digest. `make docker-proof` tries these steps without a container engine.
FROM python:3.13.18-slim-trixie AS build
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN python -m venv /opt/flowport \
 && /opt/flowport/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY src ./src
RUN /opt/flowport/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13.18-slim-trixie
RUN useradd --create-home --uid 10001 flowport
RUN install -d -m 0700 -o flowport /data
COPY --from=build /opt/flowport /opt/flowport
USER flowport
ENV FLOWPORT_HOME=/data/home FLOWPORT_OUTPUT_DIR=/data/outputs FLOWPORT_FILE_ROOTS=/data
ENV PYTHONDONTWRITEBYTECODE=1
VOLUME /data
ENTRYPOINT ["/opt/flowport/bin/flowport"]
