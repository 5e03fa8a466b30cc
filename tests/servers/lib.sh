# shellcheck shell=bash
# What the server scripts share; to be sourced. A daemon is known by its pid and by the moment that
# pid was started, so that a stale pid file never hits a stranger who was given the same number.

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$@"; exit 1; }

# started PID: when the process began, in clock ticks since boot; nothing for a zombie or a dead pid.
started() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) } # the name in parentheses may hold spaces
  # shellcheck disable=SC2086
  set -- $stat # from field 3, the state, on
  [[ $1 != Z ]] && printf '%s\n' "${20}"
}

# launch DIR NAME COMMAND...: starts a daemon of its own session and notes it in DIR/NAME.pid.
launch() {
  local dir=$1 name=$2
  shift 2
  setsid "$@" >"$dir/$name.out" 2>&1 </dev/null &
  printf '%s %s\n' $! "$(started $!)" >"$dir/$name.pid"
}

# alive DIR NAME: whether that very process still runs.
alive() {
  local pid since
  read -r pid since 2>/dev/null <"$1/$2.pid" || return 1
  [[ -n $since && $(started "$pid") == "$since" ]]
}

# stop DIR NAME [GRACE_SECS]: SIGTERM, and SIGKILL to what still runs when the grace is over.
stop() {
  local dir=$1 name=$2 grace=${3:-5} pid _
  if alive "$dir" "$name"; then
    read -r pid _ <"$dir/$name.pid"
    kill -TERM "$pid" 2>/dev/null || true
    await "$grace" not alive "$dir" "$name" || kill -KILL "$pid" 2>/dev/null || true
    await 10 not alive "$dir" "$name" || die "$name (pid $pid) does not end"
  fi
  rm -f "$dir/$name.pid"
}

not() { ! "$@"; }

# await SECONDS COMMAND...: until the command succeeds; fails when the time is over.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FIRST: FIRST or the next port that nobody listens on.
free_port() {
  local port
  for ((port = $1; port < $1 + 200; port += 1)); do
    port_taken "$port" || { printf '%s\n' "$port"; return; }
  done
  die "no free port from $1 on"
}
