#!/usr/bin/env bash
# Pin every dependency of pyproject.toml anew, with hashes and without addresses.
#
# requirements/runtime.txt is what `make demo` installs, development.txt adds tests and tools on top, and
# each service's own file holds what its image installs: all of them the same versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
    .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
        --python-version 3.11 pyproject.toml "$@"
}

# UPGRADE=1 takes the newest versions; otherwise what still fits stays as it is.
upgrade=()
if [ "${UPGRADE:-}" = 1 ]; then upgrade=(--upgrade); fi

compile ${upgrade[@]+"${upgrade[@]}"} --extra local -o requirements/runtime.txt
compile ${upgrade[@]+"${upgrade[@]}"} --extra local -c requirements/runtime.txt \
    --group test --group lint -o requirements/development.txt
# What builds this project's own wheel in an image.
printf 'hatchling\n' | .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
    --python-version 3.11 -c requirements/runtime.txt - -o requirements/build.txt
for folder in services/*/; do
    name="$(basename "$folder")"
    compile -c requirements/runtime.txt --extra "$name" -o "services/$name/requirements.txt"
done

if grep -lE '^ *(-i|--index-url|--extra-index-url|--find-links)|://' requirements/*.txt services/*/requirements.txt; then
    echo "lock: the files above record an address; remove it before they are committed" >&2
    exit 1
fi
