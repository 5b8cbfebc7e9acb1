# shellcheck shell=bash
# Redis in DIR/redis, with its append-only file on, so that a restart finds its data again.

redis_answers() {
  local reply
  is_running "$1" || return 1
  exec 4<>"/dev/tcp/127.0.0.1/$2" || return 1
  printf 'PING\r\n' >&4
  IFS= read -r -t 1 reply <&4
  exec 4>&-
  [[ $reply == +PONG* ]]
} 2>/dev/null

redis_start() {
  local dir=$1/redis port
  command -v redis-server >/dev/null || die "redis-server is not installed: run ops/dev setup"
  is_running "$dir" && return 0
  mkdir -p "$dir"
  for _ in 1 2 3; do
    port=$(port_of "$dir" port)
    start_process "$dir" redis-server --bind 127.0.0.1 --port "$port" --dir "$dir" --save '' --appendonly yes \
      --daemonize no
    wait_for 15 redis_answers "$dir" "$port" && return 0
    stop_process "$dir" KILL 5
    rm -f "$dir/port"
  done
  last_lines "$dir/log"
  die "redis-server did not start; its log is $dir/log"
}

redis_stop() { stop_process "$1/redis" TERM 10; }

redis_address() { is_running "$1/redis" && printf '127.0.0.1:%s' "$(<"$1/redis/port")"; }
