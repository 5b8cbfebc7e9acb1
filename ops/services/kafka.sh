# shellcheck shell=bash
# A real Kafka broker (KRaft, no ZooKeeper) in DIR/kafka-1, or three in DIR/kafka-1 … kafka-3.
#
# The jars come once, by Maven, into the user's cache. When they cannot be had the caller goes on without Kafka:
# kafka_start then returns 1 and leaves the reason in DIR/kafka-unavailable.

kafka_cache() { printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/headgate/kafka"; }

kafka_unavailable() {
  printf '%s\n' "$2" >"$1/kafka-unavailable"
  warn "NO KAFKA: $2"
  return 1
}

kafka_copy_jars() {
  timeout 300 mvn -q -B -f "$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2/libs" \
    </dev/null >"$2/maven.log" 2>&1
}

kafka_fetch_jars() {
  local pom=$1 cache=$2 stamp
  stamp=$(cksum <"$pom")
  [[ -f $cache/stamp && $(<"$cache/stamp") == "$stamp" ]] && return 0
  mkdir -p "$cache"
  (
    flock 8
    [[ -f $cache/stamp && $(<"$cache/stamp") == "$stamp" ]] && exit 0
    say "fetching Kafka's jars with Maven, about 46 MiB, only once …"
    rm -rf "$cache/libs" "$cache/stamp"
    kafka_copy_jars "$pom" "$cache" || kafka_copy_jars "$pom" "$cache" || {
      last_lines "$cache/maven.log" 8
      exit 1
    }
    printf '%s\n' "$stamp" >"$cache/stamp"
  ) 8>"$cache/lock"
}

kafka_properties() {
  local root=$1 node=$2 nodes=$3 voters='' n copies=$(($3 < 3 ? $3 : 3))
  for n in $(seq "$nodes"); do
    voters+="${voters:+,}$n@127.0.0.1:$(<"$root/kafka-$n/controller_port")"
  done
  local port controller
  port=$(<"$root/kafka-$node/port")
  controller=$(<"$root/kafka-$node/controller_port")
  cat <<EOF
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$root/kafka-$node/data
num.partitions=4
default.replication.factor=$copies
min.insync.replicas=$((copies == 3 ? 2 : 1))
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=$copies
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$((copies == 3 ? 2 : 1))
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
unclean.leader.election.enable=false
broker.session.timeout.ms=6000
num.io.threads=2
num.network.threads=2
log.cleaner.dedupe.buffer.size=8388608
EOF
}

# The log of a node that says it serves, and whose port answers.
kafka_serves() {
  is_running "$1" && grep -q 'Kafka Server started' "$1/log" 2>/dev/null && port_answers "$(<"$1/port")"
}
kafka_serves_or_died() { kafka_serves "$1" || is_gone "$1"; }

kafka_start_node() {
  local root=$1 node=$2 nodes=$3 id=$4 dir=$1/kafka-$2 libs
  libs=$(kafka_cache)/libs
  is_running "$dir" && return 0
  kafka_properties "$root" "$node" "$nodes" >"$dir/server.properties"
  if [[ ! -f $dir/data/meta.properties ]]; then
    java -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" \
      >"$dir/format.log" 2>&1 || {
      last_lines "$dir/format.log"
      return 1
    }
  fi
  : >"$dir/log"
  start_process "$dir" java -Xms96m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.Kafka \
    "$dir/server.properties"
}

kafka_knows() { kcat -L -m 2 -b "127.0.0.1:$1" 2>/dev/null | grep -q "^ $2 brokers:"; }

kafka_cluster_id() {
  local file=$1/kafka-cluster-id
  [[ -s $file ]] || printf 'K%s\n' "$(head -c 32 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 21)" >"$file"
  cat "$file"
}

kafka_try_start() {
  local root=$1 nodes=$2 n id
  id=$(kafka_cluster_id "$root")
  for n in $(seq "$nodes"); do
    mkdir -p "$root/kafka-$n"
    port_of "$root/kafka-$n" port >/dev/null
    port_of "$root/kafka-$n" controller_port >/dev/null
  done
  for n in $(seq "$nodes"); do
    kafka_start_node "$root" "$n" "$nodes" "$id" || return 1
  done
  for n in $(seq "$nodes"); do
    wait_for 90 kafka_serves_or_died "$root/kafka-$n" && kafka_serves "$root/kafka-$n" || return 1
  done
  # A node that serves need not yet know all the others, and a topic with three copies needs all three.
  if ((nodes > 1)) && command -v kcat >/dev/null; then
    wait_for 20 kafka_knows "$(<"$root/kafka-1/port")" "$nodes" || return 1
  fi
}

kafka_start() {
  local root=$1 nodes=${2:-1} cache
  rm -f "$root/kafka-unavailable"
  cache=$(kafka_cache)
  if ! command -v java >/dev/null; then
    kafka_unavailable "$root" "no Java on this machine: run ops/dev setup"
    return 1
  fi
  if [[ ! -f $cache/stamp ]] && ! command -v mvn >/dev/null; then
    kafka_unavailable "$root" "no Maven on this machine: run ops/dev setup"
    return 1
  fi
  if ! kafka_fetch_jars "$SERVICES_HOME/kafka/pom.xml" "$cache"; then
    kafka_unavailable "$root" "Maven could not fetch Kafka's jars; its output is $cache/maven.log"
    return 1
  fi
  for _ in 1 2 3; do
    kafka_try_start "$root" "$nodes" && return 0
    # A port that was taken meanwhile; ports are part of the voters' addresses, so all of the cluster is made anew.
    grep -qs 'Address already in use' "$root"/kafka-*/log || break
    kafka_stop "$root"
    rm -rf "$root"/kafka-[0-9]*
  done
  last_lines "$root/kafka-1/log"
  kafka_stop "$root"
  kafka_unavailable "$root" "the broker did not start; its log is $root/kafka-1/log"
}

kafka_stop() {
  local dir pid
  # All of them are asked first: the last voter alone could not finish in order.
  for dir in "$1"/kafka-[0-9]*; do
    pid=$(process_of "$dir") && kill -TERM "$pid" 2>/dev/null
  done
  for dir in "$1"/kafka-[0-9]*; do
    [[ -d $dir ]] && stop_process "$dir" TERM 20
  done
  return 0
}

kafka_address() {
  local dir list=''
  for dir in "$1"/kafka-[0-9]*; do
    is_running "$dir" && list+="${list:+,}127.0.0.1:$(<"$dir/port")"
  done
  [[ -n $list ]] && printf '%s' "$list"
}
