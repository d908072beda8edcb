# The backend, its workers and its timer; Label Studio, PostgreSQL and Redis have images of their own
# (docker-compose.yml). The kinds differ by the index that torch comes from: TORCH_INDEX names PyTorch's own index of
# builds without CUDA, which are 4 GB smaller; empty, it comes from PyPI with CUDA.
FROM python:3.12.12-slim-trixie
# `drape backup` and `drape restore` of PostgreSQL: no older than the server in docker-compose.yml.
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client-17 && rm -rf /var/lib/apt/lists/*
# Label Studio's own user and group: a restore writes its uploads. A volume takes its owner from the folder that it is
# first mounted on.
RUN useradd --uid 1001 --gid 0 --home-dir /data drape \
    && mkdir -p /data /backups /label-studio/data /label-studio/files \
    && chown drape:0 /data /backups /label-studio/data
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# OpenCV is the headless build: no library of the system is needed. In a layer of its own: new code leaves it as it is.
COPY requirements.txt .
ARG TORCH_INDEX=""
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" pip install -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY backend backend
COPY training training
COPY label_studio_config label_studio_config
COPY launcher launcher
RUN pip install --no-deps --no-build-isolation .
USER drape
# Weights that Ultralytics downloads land in the working directory. Libraries write beside the home directory, of which
# nothing need be kept.
WORKDIR /data
ENV DATA_DIR=/data HOST=0.0.0.0 PORT=9090 HOME=/tmp PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 9090
ENTRYPOINT ["drape"]
CMD ["serve"]
