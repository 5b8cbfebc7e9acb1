# shellcheck shell=bash
# nats-server with JetStream in DIR/nats.

nats_answers() { [[ $(first_line "$1" "$2") == INFO* ]]; }

nats_launch() {
  mkdir -p "$1/store"
  start_process "$1" nats-server -js -a 127.0.0.1 -p "$2" -sd "$1/store"
}

nats_start() {
  command -v nats-server >/dev/null || die "nats-server is not installed: run ops/dev setup"
  start_on_port nats "$1/nats"
}

nats_stop() { stop_process "$1/nats" TERM 10; }

nats_address() { address_of "$1/nats"; }
