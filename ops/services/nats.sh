# shellcheck shell=bash
# nats-server with JetStream in DIR/nats.

nats_answers() {
  local greeting
  is_running "$1" || return 1
  exec 4<>"/dev/tcp/127.0.0.1/$2" || return 1
  IFS= read -r -t 1 greeting <&4
  exec 4>&-
  [[ $greeting == INFO* ]]
} 2>/dev/null

nats_start() {
  local dir=$1/nats port
  command -v nats-server >/dev/null || die "nats-server is not installed: run ops/dev setup"
  is_running "$dir" && return 0
  mkdir -p "$dir/store"
  for _ in 1 2 3; do
    port=$(port_of "$dir" port)
    start_process "$dir" nats-server -js -a 127.0.0.1 -p "$port" -sd "$dir/store"
    wait_for 15 nats_answers "$dir" "$port" && return 0
    stop_process "$dir" KILL 5
    rm -f "$dir/port"
  done
  last_lines "$dir/log"
  die "nats-server did not start; its log is $dir/log"
}

nats_stop() { stop_process "$1/nats" TERM 10; }

nats_address() { is_running "$1/nats" && printf '127.0.0.1:%s' "$(<"$1/nats/port")"; }
