#!/bin/bash
# Makes the database at the first start; passwords are asked for over the network, and not on this machine's socket.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --encoding=UTF8 --locale=C.UTF-8 --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  # Without the network, as nobody may connect before it is complete.
  pg_ctl -w -o "-c listen_addresses=''" start
  createdb --username="$POSTGRES_USER" --host=/var/run/postgresql "$POSTGRES_DB"
  pg_ctl -w -m fast stop
fi
exec "$@"
