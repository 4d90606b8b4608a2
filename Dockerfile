# A build stage with a C compiler, and an image with the program alone. Run it with a read-only root file system:
#
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --user 65532:65532 -p 8080:8080 -v voicory:/data voicory
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=65532 --group=65532 --mode=0700 /data
COPY --from=build /src/bin/voicory /usr/local/bin/voicory
USER 65532:65532
ENV VOICORY_DATA=/data/voicory VOICORY_LISTEN=:8080
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["voicory"]
CMD ["serve"]
