# syntax=docker/dockerfile:1
# A small image of timeback-events: docker build -t timeback-events .
# Run: docker run -p 3001:3001 -v timeback-data:/data -e INTEGRATION_AUTH=none timeback-events

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# The dependencies alone first: this layer is kept until one of them changes.
RUN mkdir -p src benches \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && sed -i '/^\[\[/,/^$/d' Cargo.toml \
    && cargo build --release --locked \
    && rm -r src
COPY . .
# What was copied is newer than what was built from stubs only by its content, so its times are set anew.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin timeback-events

FROM debian:trixie-slim
# Certificates of the authorities, for INTEGRATION_JWKS.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 timeback \
    && useradd --system --uid 10001 --gid timeback --home-dir /data timeback \
    && install -d -o timeback -g timeback /data
COPY --from=build /src/target/release/timeback-events /usr/local/bin/timeback-events
COPY --from=build /src/LICENSE /usr/share/doc/timeback-events/LICENSE
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 3001
# Within a container loopback reaches nobody, so it listens on every address. It does not start like this
# until you decide who may ask: give it credentials (INTEGRATION_API_KEYS_FILE, INTEGRATION_JWT_SECRET or
# INTEGRATION_JWKS), or say plainly -e INTEGRATION_AUTH=none where whoever reaches the port may do everything.
# The image doesn't decide that for you.
ENV INTEGRATION_SSE_HOST=0.0.0.0 \
    INTEGRATION_DATA_DIR=/data/log \
    LOG_FORMAT=json
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["timeback-events", "healthcheck"]
ENTRYPOINT ["timeback-events"]
