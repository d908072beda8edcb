# The backend and its workers; Label Studio and Redis have images of their own (docker-compose.yml).
FROM python:3.12-slim-bookworm

# libgl and glib are not needed: OpenCV is the headless build.
RUN useradd --create-home --uid 1000 drape && mkdir /data && chown drape /data
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY backend backend
COPY training training
COPY label_studio_config label_studio_config
COPY launcher launcher
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

USER drape
ENV DATA_DIR=/data HOST=0.0.0.0 PORT=9090 YOLO_CONFIG_DIR=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 9090
ENTRYPOINT ["drape"]
CMD ["serve"]
