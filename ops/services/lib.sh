# shellcheck shell=bash
# Shared by the scripts under ops/services: messages, ports, processes, folders of runs.
#
# A run is one folder. Each server keeps its data, log, port and process id in it, so that any later command finds it
# again by the folder alone, and two runs never meet.

# Debian keeps servers where an ordinary user's PATH does not look.
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
warn() { printf 'WARNING: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range that the kernel gives to outgoing connections, so a client cannot take the port in between.
free_port() {
  local port
  for _ in $(seq 200); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if ! port_answers "$port"; then
      printf '%s\n' "$port"
      return 0
    fi
  done
  die "no free port between 20000 and 32000 on 127.0.0.1"
}

# wait_for SECONDS COMMAND...: polls until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# process_of DIR: the process that serves this folder, or nothing. Comparing its working folder keeps us from ever
# signalling a stranger who was given an old process id.
process_of() {
  local dir=$1 pid cwd
  [[ -r $dir/pid ]] || return 1
  read -r pid <"$dir/pid" || return 1
  [[ $pid =~ ^[0-9]+$ ]] && kill -0 "$pid" 2>/dev/null || return 1
  [[ $(ps -o stat= -p "$pid" 2>/dev/null) != Z* ]] || return 1
  cwd=$(readlink "/proc/$pid/cwd" 2>/dev/null) || return 1
  [[ $cwd == "$dir" || $cwd == "$dir"/* || $cwd == "$dir (deleted)" ]] || return 1
  printf '%s\n' "$pid"
}

is_running() { process_of "$1" >/dev/null; }
is_gone() { ! is_running "$1"; }

# start_process DIR COMMAND...: in the background and in its own session, so that Ctrl-C reaches only the caller, who
# then stops things in order. Output goes to DIR/log.
start_process() {
  local dir=$1
  shift
  (
    cd "$dir" || exit 1
    exec setsid "$@" </dev/null >>"$dir/log" 2>&1 9>&-
  ) &
  printf '%s\n' "$!" >"$dir/pid"
  disown
}

# stop_process DIR SIGNAL SECONDS: asks, waits, and only then kills, loudly.
stop_process() {
  local dir=$1 pid
  if pid=$(process_of "$dir"); then
    kill "-$2" "$pid" 2>/dev/null
    if ! wait_for "$3" is_gone "$dir"; then
      warn "$(basename "$dir") did not stop within $3 s and is killed"
      kill -KILL "$pid" 2>/dev/null
      wait_for 5 is_gone "$dir" || return 1
    fi
  fi
  rm -f "$dir/pid"
}

last_lines() { tail -n "${2:-15}" "$1" 2>/dev/null | sed 's/^/    /' >&2; }

# port_of DIR NAME: the port recorded for this server, so that a restart keeps its address; else a new free one.
port_of() {
  local file=$1/$2 port
  if [[ -s $file ]]; then
    read -r port <"$file"
  else
    port=$(free_port) || return 1
    printf '%s\n' "$port" >"$file"
  fi
  printf '%s\n' "$port"
}

# first_line DIR PORT [REQUEST]: what the server of DIR says first on PORT, at once or when asked.
first_line() {
  local line
  is_running "$1" || return 1
  exec 4<>"/dev/tcp/127.0.0.1/$2" || return 1
  [[ -z ${3:-} ]] || printf '%s\r\n' "$3" >&4
  IFS= read -r -t 1 line <&4
  exec 4>&-
  printf '%s\n' "$line"
} 2>/dev/null

# start_on_port NAME DIR: `NAME_launch DIR PORT` until `NAME_answers DIR PORT`; on another port when this one was taken
# in between.
start_on_port() {
  local name=$1 dir=$2 port
  is_running "$dir" && return 0
  mkdir -p "$dir"
  for _ in 1 2 3; do
    port=$(port_of "$dir" port)
    "${name}_launch" "$dir" "$port"
    wait_for 15 "${name}_answers" "$dir" "$port" && return 0
    stop_process "$dir" KILL 5
    rm -f "$dir/port"
  done
  last_lines "$dir/log"
  die "$name did not start; its log is $dir/log"
}

address_of() { is_running "$1" && printf '127.0.0.1:%s' "$(<"$1/port")"; }

process_start_time() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }

# own_folder DIR: notes that the folder lives as long as the calling script; clean_stale_folders removes what such an
# owner left when it was killed.
own_folder() { printf '%s %s\n' "$$" "$(process_start_time $$)" >"$1/.owner"; }

owner_lives() {
  local pid started
  read -r pid started <"$1/.owner" || return 1
  [[ -n $pid && -n $started && $(process_start_time "$pid") == "$started" ]]
}

# clean_stale_folders STOP_COMMAND: for each folder of ours whose owner is dead, STOP_COMMAND DIR, then away with it.
clean_stale_folders() {
  local dir
  for dir in "${TMPDIR:-/tmp}"/headgate-*; do
    [[ -d $dir && ! -L $dir && -O $dir && -f $dir/.owner ]] || continue
    owner_lives "$dir" && continue
    say "cleaning up after a run that was cut off: $dir"
    "$1" "$dir" || continue
    rm -rf "$dir"
  done
}
