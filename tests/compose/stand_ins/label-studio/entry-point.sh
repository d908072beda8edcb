#!/bin/bash
# Takes secrets from the files that ENV_INJECT_SOURCES names, separated by commas.
set -e
IFS=, read -ra files <<< "${ENV_INJECT_SOURCES:-}"
for file in "${files[@]}"; do
  if [[ -f "$file" ]]; then . "$file"; fi
done
exec "$@"
