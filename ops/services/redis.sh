# shellcheck shell=bash
# Redis in DIR/redis, with its append-only file on, so that a restart finds its data again.

redis_answers() { [[ $(first_line "$1" "$2" PING) == +PONG* ]]; }

redis_launch() {
  start_process "$1" redis-server --bind 127.0.0.1 --port "$2" --dir "$1" --save '' --appendonly yes --daemonize no
}

redis_start() {
  command -v redis-server >/dev/null || die "redis-server is not installed: run ops/dev setup"
  start_on_port redis "$1/redis"
}

redis_stop() { stop_process "$1/redis" TERM 10; }

redis_address() { address_of "$1/redis"; }
