# shellcheck shell=bash
# Redis as it is run in earnest, each on request only (--only redis_tls, redis_sentinel, redis_cluster):
#   DIR/redis_tls       one server that speaks TLS only; its authority is ca.pem, a client's certificate client.pem, client.key
#   DIR/redis_sentinel  a master, a replica, three sentinels; the master's name is headgate
#   DIR/redis_cluster   three masters and a replica of the first

# Of the node that is being launched.
redis_node_options=()

redis_node_launch() {
  start_process "$1" redis-server --bind 127.0.0.1 --port "$2" --dir "$1" --save '' --appendonly yes --daemonize no \
    --repl-diskless-sync-delay 0 "${redis_node_options[@]}"
}

redis_node_answers() { redis_answers "$1" "$2"; }

# redis_node_start DIR OPTION...
redis_node_start() {
  redis_node_options=("${@:2}")
  start_on_port redis_node "$1"
}

redis_ask() { redis-cli -p "$(<"$1/port")" "${@:2}"; }
redis_says() { redis_ask "$1" "${@:3}" 2>/dev/null | grep -q "$2"; }

# stop_nodes DIR: every server below it.
stop_nodes() {
  local node failed=0
  for node in "$1"/*/; do
    [[ -d $node ]] || continue
    stop_process "${node%/}" TERM 10 || failed=1
  done
  return "$failed"
}

redis_certificate() {
  local dir=$1 name=$2
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" \
    -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>>"$dir/openssl.log" &&
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 365 \
      -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$dir/$name.pem" 2>>"$dir/openssl.log"
}

redis_certificates() {
  local dir=$1
  [[ -s $dir/client.pem ]] && return 0
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=headgate services" \
    -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>>"$dir/openssl.log" &&
    redis_certificate "$dir" server && redis_certificate "$dir" client
}

redis_tls_launch() {
  start_process "$1" redis-server --bind 127.0.0.1 --port 0 --tls-port "$2" --dir "$1" --save '' --appendonly yes \
    --daemonize no --tls-cert-file server.pem --tls-key-file server.key --tls-ca-cert-file ca.pem
}

redis_tls_answers() {
  local dir=$1
  is_running "$dir" || return 1
  [[ $(redis-cli -p "$2" --tls --cacert "$dir/ca.pem" --cert "$dir/client.pem" --key "$dir/client.key" PING 2>/dev/null) == PONG ]]
}

redis_tls_start() {
  local dir=$1/redis_tls
  mkdir -p "$dir"
  command -v openssl >/dev/null || die "openssl is not installed: run ops/dev setup"
  redis_certificates "$dir" || die "the certificates cannot be made; see $dir/openssl.log"
  start_on_port redis_tls "$dir"
}
redis_tls_stop() { stop_process "$1/redis_tls" TERM 10; }
redis_tls_address() { address_of "$1/redis_tls"; }

redis_sentinel_launch() { start_process "$1" redis-server "$1/conf" --sentinel --port "$2" --bind 127.0.0.1 --dir "$1"; }
redis_sentinel_answers() { redis_answers "$1" "$2"; }

redis_sentinel_start() {
  local dir=$1/redis_sentinel sentinel
  redis_node_start "$dir/a"
  redis_node_start "$dir/b" --replicaof 127.0.0.1 "$(<"$dir/a/port")"
  for sentinel in s1 s2 s3; do
    mkdir -p "$dir/$sentinel"
    # The sentinels keep what they know in it.
    [[ -s $dir/$sentinel/conf ]] || printf '%s\n' "sentinel monitor headgate 127.0.0.1 $(<"$dir/a/port") 2" \
      "sentinel down-after-milliseconds headgate 1000" "sentinel failover-timeout headgate 10000" >"$dir/$sentinel/conf"
    start_on_port redis_sentinel "$dir/$sentinel"
  done
  for sentinel in s1 s2 s3; do
    wait_for 15 redis_says "$dir/$sentinel" 'slaves=1,sentinels=3' INFO sentinel || die "the sentinels in $dir do not meet"
  done
}
redis_sentinel_stop() { stop_nodes "$1/redis_sentinel"; }
redis_sentinel_address() {
  local dir=$1/redis_sentinel
  is_running "$dir/s1" && printf '127.0.0.1:%s,127.0.0.1:%s,127.0.0.1:%s' "$(<"$dir/s1/port")" "$(<"$dir/s2/port")" "$(<"$dir/s3/port")"
}

redis_cluster_start() {
  local dir=$1/redis_cluster node bus first=0 last
  for node in 1 2 3 4; do
    mkdir -p "$dir/$node"
    bus=$(port_of "$dir/$node" bus) || return 1
    redis_node_start "$dir/$node" --cluster-enabled yes --cluster-port "$bus" --cluster-node-timeout 2000
  done
  if [[ ! -f $dir/made ]]; then
    for node in 1 2 3; do
      last=$((16384 * node / 3 - 1))
      redis_ask "$dir/$node" CLUSTER ADDSLOTSRANGE "$first" "$last" >/dev/null
      redis_ask "$dir/$node" CLUSTER SET-CONFIG-EPOCH "$node" >/dev/null
      first=$((last + 1))
    done
    for node in 2 3 4; do
      redis_ask "$dir/1" CLUSTER MEET 127.0.0.1 "$(<"$dir/$node/port")" "$(<"$dir/$node/bus")" >/dev/null
    done
    for node in 1 2 3 4; do
      wait_for 20 redis_says "$dir/$node" 'cluster_known_nodes:4' CLUSTER INFO || die "the cluster in $dir does not meet"
    done
    wait_for 10 redis_says "$dir/4" OK CLUSTER REPLICATE "$(redis_ask "$dir/1" CLUSTER MYID)" ||
      die "the replica in $dir/4 does not follow"
    : >"$dir/made"
  fi
  for node in 1 2 3 4; do
    wait_for 20 redis_says "$dir/$node" 'cluster_state:ok' CLUSTER INFO || die "the cluster in $dir is not whole"
  done
}
redis_cluster_stop() { stop_nodes "$1/redis_cluster"; }
redis_cluster_address() {
  local dir=$1/redis_cluster
  is_running "$dir/1" && printf '127.0.0.1:%s,127.0.0.1:%s,127.0.0.1:%s' "$(<"$dir/1/port")" "$(<"$dir/2/port")" "$(<"$dir/3/port")"
}
