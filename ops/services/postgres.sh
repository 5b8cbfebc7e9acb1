# shellcheck shell=bash
# PostgreSQL in DIR/postgres. As root it runs as the system user postgres, because the server refuses root.

postgres_bin() {
  local version dir
  for version in 15 16 17 14; do
    dir=/usr/lib/postgresql/$version/bin
    [[ -x $dir/initdb ]] && printf '%s\n' "$dir" && return 0
  done
  dir=$(dirname "$(command -v initdb 2>/dev/null)" 2>/dev/null)
  [[ -n $dir && $dir != . ]] && printf '%s\n' "$dir"
}

as_postgres() {
  if ((EUID == 0)); then
    (cd / && runuser -u postgres -- "$@")
  else
    "$@"
  fi
}

postgres_settings() {
  cat <<EOF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
max_prepared_transactions = 20
track_commit_timestamp = on
timezone = 'UTC'
log_timezone = 'UTC'
EOF
  # A crash of the machine may then ruin the data, which a throw-away server can afford; a kill of a process may not.
  [[ ${SERVICES_FSYNC:-on} == on ]] || printf "fsync = off\nsynchronous_commit = on\nfull_page_writes = off\n"
}

postgres_create() {
  local dir=$1 bin=$2
  mkdir -p "$dir/data"
  chmod 700 "$dir/data"
  if ((EUID == 0)); then
    chown -R postgres: "$dir"
    as_postgres test -x "$dir" || die "user postgres cannot enter $dir: choose another --dir, for example under /tmp"
  fi
  as_postgres "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
    >"$dir/initdb.log" 2>&1 || {
    last_lines "$dir/initdb.log"
    die "initdb failed"
  }
  postgres_settings | as_postgres tee -a "$dir/data/postgresql.conf" >/dev/null
}

postgres_start() {
  local dir=$1/postgres bin port
  bin=$(postgres_bin) || bin=
  [[ -n $bin ]] || die "PostgreSQL is not installed: run ops/dev setup"
  is_running "$dir" && return 0
  mkdir -p "$dir"
  [[ -s $dir/data/PG_VERSION ]] || postgres_create "$dir" "$bin"
  for _ in 1 2 3; do
    port=$(port_of "$dir" port)
    if as_postgres "$bin/pg_ctl" start -s -w -t 60 -D "$dir/data" -l "$dir/data/server.log" -o "-p $port" \
      >>"$dir/log" 2>&1 9>&-; then
      head -1 "$dir/data/postmaster.pid" >"$dir/pid"
      return 0
    fi
    port_answers "$port" || break
    rm -f "$dir/port"
  done
  last_lines "$dir/data/server.log"
  die "PostgreSQL did not start; its log is $dir/data/server.log"
}

postgres_stop() { stop_process "$1/postgres" INT 30; }

postgres_address() {
  is_running "$1/postgres" && printf 'postgresql://postgres@127.0.0.1:%s/postgres' "$(<"$1/postgres/port")"
}
