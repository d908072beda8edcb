# The backend and its workers; Label Studio, PostgreSQL and Redis have images of their own (docker-compose.yml).
# Two kinds from the same requirements.txt: `gpu` takes torch as it comes, with CUDA; `cpu` takes its builds without,
# from where CPU_INDEX says (PyTorch's own index of them), which leaves some gigabytes out.
ARG KIND=cpu
FROM python:3.12.12-slim-trixie AS python
ENV PATH=/opt/drape/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM python AS packages
RUN python -m venv /opt/drape
WORKDIR /build
COPY requirements.txt .

FROM packages AS cpu-packages
ARG CPU_INDEX=""
RUN PIP_EXTRA_INDEX_URL="$CPU_INDEX" pip install -r requirements.txt

FROM packages AS gpu-packages
RUN pip install -r requirements.txt

FROM ${KIND}-packages AS chosen-packages

# libgl and glib are not needed: OpenCV is the headless build.
FROM python
# `drape backup` and `drape restore` of PostgreSQL: no older than the server in docker-compose.yml.
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client-17 && rm -rf /var/lib/apt/lists/*
# Label Studio's own user and group: a restore writes its uploads.
RUN useradd --create-home --uid 1001 --gid 0 drape && mkdir /data && chown drape:0 /data
WORKDIR /app
COPY --from=chosen-packages /opt/drape /opt/drape
COPY pyproject.toml README.md LICENSE ./
COPY backend backend
COPY training training
COPY label_studio_config label_studio_config
COPY launcher launcher
RUN pip install --no-deps --no-build-isolation .
USER drape
ENV DATA_DIR=/data HOST=0.0.0.0 PORT=9090 YOLO_CONFIG_DIR=/data MPLCONFIGDIR=/tmp PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 9090
ENTRYPOINT ["drape"]
CMD ["serve"]
