#!/usr/bin/env bash
# Make .venv ready: `scripts/setup.sh` for running, `scripts/setup.sh development` for tests and tools as well.
#
# Installs exactly the pinned and hashed packages of requirements/, then this project itself. A second
# run with nothing changed ends at once; an interrupted one goes on where it stopped. Two runs at the
# same time wait for each other. All words go to standard error, so that a command that comes after
# has standard output to itself. pip's own configuration and certificates are left as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kind="${1:-runtime}"
lock=.venv.lock
lock_wait_s=900

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup: $*"; exit 1; }

case "$kind" in
    runtime) files=(requirements/runtime.txt) ;;
    development) files=(requirements/development.txt) ;;
    *) fail "unknown kind '$kind'; use runtime or development" ;;
esac

# What must not have changed since the installation for it to be still right.
state() { cat "${files[@]}" pyproject.toml | cksum; pwd; }
stamp=".venv/installed-$kind"

is_ready() {
    [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(state)" ]
}

works() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

has_redis() {
    local name version
    for name in redis-server valkey-server; do
        version="$("$name" --version 2>/dev/null | sed -n 's/.*v=\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')" || continue
        # shellcheck disable=SC2086  # two words on purpose
        if [ -n "$version" ] && set -- $version && [ $(($1 * 100 + $2)) -ge 602 ]; then return 0; fi
    done
    return 1
}

# 3.12 and 3.11 first: for them the packages bring a Redis server along.
find_python() {
    local name
    for name in ${PYTHON:-} python3.12 python3.11 python3 python3.13 python3.14; do
        if works "$name"; then printf '%s' "$name"; return 0; fi
    done
    for name in python3.12 python3.11 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            fail "$name cannot make virtual environments; install its venv package (for example: apt install python3-venv)"
        fi
    done
    fail "no Python 3.11 or newer was found; install Python 3.12 and run this again"
}

if is_ready; then exit 0; fi

# Only one at a time. A folder is made or not made, which no two processes can both succeed in.
waited=0
until mkdir "$lock" 2>/dev/null; do
    owner="$(cat "$lock/pid" 2>/dev/null || true)"
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
        # Taken by renaming, so that of several waiters only one clears it away.
        if mv "$lock" "$lock.stale.$$" 2>/dev/null; then rm -rf "$lock.stale.$$"; fi
        continue
    fi
    if [ "$waited" -eq 0 ]; then say "another setup is at work here; waiting for it"; fi
    if [ "$waited" -ge "$lock_wait_s" ]; then
        fail "another setup has held $lock for $lock_wait_s s; if none is at work, remove that folder"
    fi
    sleep 1
    waited=$((waited + 1))
done
trap 'rm -rf "$lock"' EXIT
trap 'exit 130' INT TERM
echo "$$" >"$lock/pid"

if is_ready; then exit 0; fi

if ! works .venv/bin/python; then
    python="$(find_python)" || exit 1
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' && ! has_redis; then
        fail "$("$python" --version) has no Redis server among its packages; install Python 3.12, or redis-server or valkey-server 6.2 or newer"
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

say "installing $(grep -c '==' "${files[0]}") pinned packages into .venv (a minute or two the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
    -r "${files[0]}" >&2 ||
    fail "the packages could not be installed; see pip's words above (is the network or the package index reachable?)"
say "installing this project"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    -e . >&2 || fail "the project itself could not be installed; see pip's words above"

# As pip does with its packages: without it each first start of a command compiles what it imports.
.venv/bin/python -m compileall -q shared services backtester trader scripts >&2 ||
    say "some of this project could not be compiled; commands start more slowly"

# Whoever installs the tools has what running needs as well.
state >"$stamp.draft" && mv "$stamp.draft" "$stamp"
if [ "$kind" = development ]; then
    files=(requirements/runtime.txt)
    state >.venv/installed-runtime
fi
say "ready"
