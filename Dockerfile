# The operator's image: `make image`. Everything in it is pinned, by requirements.lock and requirements-operator.lock.
ARG PYTHON_IMAGE=docker.io/library/python:3.13.9-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements.lock requirements-operator.lock ./
RUN python -m venv --without-pip /app \
    && pip --python /app install --require-hashes -r requirements-operator.lock
RUN for name in hatchling packaging pathspec pluggy tomlkit trove-classifiers; do \
        sed -n "/^$name==/,/[^\\\\]\$/p" requirements.lock; \
    done > build.lock \
    && pip install --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY lua lua
COPY crds crds
COPY examples examples
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /app install --no-deps /wheel/*.whl \
    && python -m compileall -q /app/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="stateful-route" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["stateful-route"]
CMD ["operator"]
