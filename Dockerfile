# One image for worker, beat, Flower, the sandbox and the `deskfeed` command; compose.yaml says
# which of them a container is.

FROM python:3.12.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY worker ./worker
COPY orchestrations ./orchestrations
# The same versions as in development and in the tests: constraints.txt names every one.
RUN python -m venv /opt/deskfeed \
    && /opt/deskfeed/bin/pip install --no-cache-dir --disable-pip-version-check \
        -c constraints.txt '.[alerts,flower,postgres]'

FROM python:3.12.12-slim-bookworm
# The folder of the ledger belongs to the user, and a new volume mounted there takes that over.
RUN groupadd --gid 10001 deskfeed \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin deskfeed \
    && install --directory --owner=10001 --group=10001 --mode=0700 /state
COPY --from=build /opt/deskfeed /opt/deskfeed
COPY orchestrations/catalog /catalog
ENV PATH=/opt/deskfeed/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DESKFEED_STATE_DIR=/state \
    DESKFEED_CATALOG=/catalog \
    DESKFEED_LOG_FORMAT=json
WORKDIR /state
USER 10001:10001
CMD ["deskfeed", "--help"]
