# Flowport on standard input and output, as an unprivileged user:
#   docker build -t flowport .
#   docker run -i --rm -e MAGNIFIC_API_KEY -v flowport:/data flowport
FROM python:3.11.7-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/flowport \
 && /opt/flowport/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && /opt/flowport/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11.7-slim-bookworm
RUN useradd --create-home --uid 10001 flowport && install -d -o flowport /data
COPY --from=build /opt/flowport /opt/flowport
USER flowport
ENV FLOWPORT_HOME=/data/home FLOWPORT_OUTPUT_DIR=/data/outputs FLOWPORT_FILE_ROOTS=/data
VOLUME /data
ENTRYPOINT ["/opt/flowport/bin/flowport"]
