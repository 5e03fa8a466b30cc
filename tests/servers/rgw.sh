#!/usr/bin/env bash
# Ceph RADOS Gateway on loopback, for tests: a real S3 server that nobody here wrote.
#
#   rgw.sh install           Ceph's Debian packages, some 70 MB
#   rgw.sh up DIR [PORT]     starts it and prints its environment, which is also in DIR/env; without
#                            PORT it takes the first free one from 7480 on
#   rgw.sh down DIR          stops it and removes DIR
#
# One monitor, one in-memory store and one gateway, without cephx, manager or systemd: up in seconds,
# gone without a trace. `up` on a running one only prints; on a half dead one it starts afresh, since
# the store died with its process. Everything listens on 127.0.0.1.
set -euo pipefail
# shellcheck source=tests/servers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin

usage() { die "usage: rgw.sh install | up DIR [PORT] | down DIR"; }

install() {
  command -v radosgw ceph-mon ceph-osd ceph monmaptool >/dev/null && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    ceph-mon ceph-osd radosgw ceph-common curl
}

# configure DIR PORT: the gateway on PORT, the monitor and the store on ports of their own above it.
configure() {
  local dir=$1 port=$2 mon
  mon=$(free_port $((port + 1)))
  cat >"$dir/ceph.conf" <<CONF
[global]
fsid = 5e1f0000-0000-4000-8000-000000000001
mon host = [v2:127.0.0.1:$mon]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind port min = $((mon + 1))
ms bind port max = $((mon + 200))
# Nobody but this machine can reach it. Without cephx there is no session key to encrypt with, so
# the monitor has to be asked in plain CRC mode.
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = $dir
crash dir = $dir
log file = $dir/\$name.log
mon cluster log file = $dir/cluster.log
admin socket =
pid file =
mon data = $dir/mon
# A nearly full disk of the machine is no reason to stop a test cluster.
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.02
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 8589934592
# One store is the whole cluster: it needs its weight at once, and no second host for replicas.
osd crush initial weight = 1
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
# Long logs of placement groups only fill the memory here.
osd min pg log entries = 100
osd max pg log entries = 200
rgw data = $dir/rgw
rgw rados pool pg num min = 4
rgw frontends = beast endpoint=127.0.0.1:$port
rgw run sync thread = false
rgw gc obj min wait = 30
rgw gc processor period = 30
debug rgw = 0
[client]
log file =
[client.rgw]
log file = $dir/rgw.log
CONF
}

# start DIR PORT: brings the three daemons up, one after the other.
start() {
  local dir=$1 port=$2 mon store=5e1f0000-0000-4000-8000-000000000002
  export CEPH_CONF=$dir/ceph.conf CEPH_ARGS=
  mkdir -p "$dir/mon" "$dir/osd" "$dir/rgw"
  mon=$(sed -n 's/^mon host = //p' "$CEPH_CONF")
  monmaptool --create --fsid 5e1f0000-0000-4000-8000-000000000001 --addv a "$mon" "$dir/monmap"
  ceph-mon -i a --mkfs --monmap "$dir/monmap"
  launch "$dir" mon ceph-mon -f -i a
  await 60 ceph --connect-timeout 2 mon stat || die "the monitor does not answer, see $dir"
  ceph osd new "$store"
  ceph-osd -i 0 --mkfs --osd-uuid "$store"
  launch "$dir" osd ceph-osd -f -i 0
  await 60 bash -c 'ceph osd stat | grep -q "1 up"' || die "the store does not come up, see $dir"
  # No limit on buckets; quotas are off unless somebody sets them.
  radosgw-admin user create --uid s3sweep --display-name s3sweep --max-buckets 0 \
    --access-key "$RGW_ACCESS_KEY" --secret-key "$RGW_SECRET_KEY"
  launch "$dir" rgw radosgw -f -n client.rgw
  await 90 curl -sf -o /dev/null "http://127.0.0.1:$port/" || die "the gateway does not answer, see $dir"
}

up() {
  local dir port
  dir=$(realpath -m "$1")
  if alive "$dir" mon && alive "$dir" osd && alive "$dir" rgw && [[ -f $dir/env ]]; then
    cat "$dir/env"
    return
  fi
  [[ ! -e $dir/ceph.conf ]] || down "$dir"
  port=${2:-$(free_port 7480)}
  ! port_taken "$port" || die "port $port is taken"
  : "${RGW_ACCESS_KEY:=s3sweeptest}" "${RGW_SECRET_KEY:=s3sweeptestsecret}"
  mkdir -p "$dir"
  configure "$dir" "$port"
  # In a process of its own, because the left side of `||` would go on after a command that failed.
  start "$dir" "$port" >"$dir/up.log" 2>"$dir/up.err" &
  wait $! || {
    tail -n 5 "$dir/up.err" >&2
    for name in rgw osd mon; do stop "$dir" "$name"; done # DIR stays, to be looked at
    exit 1
  }
  cat >"$dir/env" <<ENV
export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=$RGW_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$RGW_SECRET_KEY
ENV
  cat "$dir/env"
}

down() {
  local dir name
  dir=$(realpath -m "$1")
  [[ -e $dir ]] || return 0
  [[ -e $dir/ceph.conf ]] || die "$dir holds no cluster"
  # The store is in memory and goes with the directory: nothing is lost by not waiting for it.
  for name in rgw osd mon; do stop "$dir" "$name" 1; done
  rm -rf "$dir"
}

case "${1:-}:$#" in
  install:1) install ;;
  up:2 | up:3) up "${@:2}" ;;
  down:2) down "$2" ;;
  *) usage ;;
esac
