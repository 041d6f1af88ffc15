#!/usr/bin/env bash
# All tests. Those of the emulated card need the system's SIM tools: as root on Debian they are installed here, elsewhere
# they are used where they are. What is skipped for want of them is said first, as the tests' result stands last.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(pcscd vsmartcard-vpcd opensc pcsc-tools python3-pyscard libpcsclite-dev pkgconf postgresql mosquitto)
missing() {
    for package in "${packages[@]}"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

if command -v dpkg-query >/dev/null; then
    mapfile -t wanted < <(missing)
    if [ "${#wanted[@]}" -gt 0 ] && [ "$(id -u)" = 0 ]; then
        export DEBIAN_FRONTEND=noninteractive
        (apt-get update -q && apt-get install -q -y --no-install-recommends "${wanted[@]}") >&2 || true
        mapfile -t wanted < <(missing)
    fi
    [ "${#wanted[@]}" = 0 ] || echo "tests/all.sh: tests that need these are skipped: ${wanted[*]}" >&2
elif [ ! -x /usr/sbin/pcscd ]; then
    echo "tests/all.sh: tests that need pcscd are skipped" >&2
fi

# The OpenAPI files of the service-based interface and of the NEF are put to the test where schemathesis is, or can be installed.
if ! command -v schemathesis >/dev/null && [ "$(id -u)" = 0 ] && command -v python3 >/dev/null; then
    (python3 -m venv target/schemathesis && target/schemathesis/bin/pip install -q schemathesis) >&2 \
        && export AMBIT_SCHEMATHESIS="$PWD/target/schemathesis/bin/schemathesis" || true
fi

# The terminal side over PC/SC is built only where the system's library is.
if pkg-config --exists libpcsclite 2>/dev/null; then
    cargo test --release -p ambit-uicc --features pcsc --test pcscd
fi

# The models' test runs Verifpal where it is: a tool of its own, built once into target/tools.
export PATH="$PWD/target/tools/bin:$PATH"
if ! command -v verifpal >/dev/null; then
    cargo install --quiet --ignore-rust-version --root target/tools verifpal@1.6.7 >&2 ||
        echo "tests/all.sh: verifpal could not be installed: the symbolic models are not run" >&2
fi
cargo test --release --workspace "$@"
