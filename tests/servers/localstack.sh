#!/usr/bin/env bash
# LocalStack's S3 alone on loopback, for tests: its answers are AWS's in most details, its listing
# writes all versions of a page and then all markers, and it checks no signature.
#
#   localstack.sh install VENV         into a Python virtual environment, some 240 MB
#   localstack.sh up DIR VENV [PORT]   starts it and prints its environment, which is also in DIR/env;
#                                      without PORT it takes the first free one from 4566 on
#   localstack.sh down DIR             stops it and removes DIR
set -euo pipefail
# shellcheck source=tests/servers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The newest that Python 3.11 can run; the two bounds are what it needs and does not state.
readonly PACKAGES=('localstack-core[base-runtime]==4.9.2' moto-ext 'cbor2<6' 'pyopenssl<26')

usage() { die "usage: localstack.sh install VENV | up DIR VENV [PORT] | down DIR"; }

install() {
  [[ -e $1/localstack.ok ]] && return
  [[ -x $1/bin/pip ]] || python3 -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check "${PACKAGES[@]}"
  touch "$1/localstack.ok" # an install that broke off half way is taken up again
}

up() {
  local dir venv port
  dir=$(realpath -m "$1") venv=$(realpath "$2")
  if alive "$dir" localstack && [[ -f $dir/env ]]; then
    cat "$dir/env"
    return
  fi
  [[ ! -e $dir/localstack.pid ]] || down "$dir"
  port=${3:-$(free_port 4566)}
  ! port_taken "$port" || die "port $port is taken"
  mkdir -p "$dir/volume"
  touch "$dir/localstack.pid"
  # The default server (twisted) listens on all addresses whatever GATEWAY_LISTEN says.
  launch "$dir" localstack env \
    GATEWAY_SERVER=hypercorn GATEWAY_LISTEN="127.0.0.1:$port" SERVICES=s3 EAGER_SERVICE_LOADING=1 \
    DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0 \
    LOCALSTACK_VOLUME_DIR="$dir/volume" TMPDIR="$dir/volume" \
    "$venv/bin/python" -m localstack.runtime.main
  await 90 curl -sf -o /dev/null "http://127.0.0.1:$port/_localstack/health" || {
    tail -n 20 "$dir/localstack.out" >&2
    stop "$dir" localstack
    die "LocalStack does not answer, see $dir"
  }
  cat >"$dir/env" <<ENV
export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
ENV
  cat "$dir/env"
}

down() {
  local dir
  dir=$(realpath -m "$1")
  [[ -e $dir ]] || return 0
  [[ -d $dir/volume ]] || die "$dir holds no LocalStack"
  stop "$dir" localstack # some instances ignore SIGTERM: `stop` ends them with SIGKILL
  rm -rf "$dir"
}

case "${1:-}:$#" in
  install:2) install "$2" ;;
  up:3 | up:4) up "${@:2}" ;;
  down:2) down "$2" ;;
  *) usage ;;
esac
