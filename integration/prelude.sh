# What the scripts of this folder begin with: sourced, not run. Leaves them in the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What takes long to get and does not change with the sources, for every clone of the repository.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tcpinfo

die() {
    printf 'integration/%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        die "needs root, or sudo, for: $*"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get --quiet --yes -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# need PACKAGE... -- COMMAND...: the packages are missing where the command fails.
missing=()
need() {
    local packages=()
    while [ "$1" != -- ]; do
        packages+=("$1")
        shift
    done
    shift
    "$@" >/dev/null 2>&1 </dev/null || missing+=("${packages[@]}")
}

# Installs what is missing of all that was needed so far.
install_missing() {
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "needs these packages of Debian, and there is no apt-get to install them: ${missing[*]}"
    echo "Installing: ${missing[*]}"
    apt update
    apt install --no-install-recommends "${missing[@]}"
}

need_rust() {
    command -v cargo >/dev/null || die 'needs Rust: cargo is not in PATH'
}

# What tests are built of: always these packages together, or cargo would build some crates again with
# other features. The others are programs of scripts here.
tested=(--workspace --all-features)
tested+=(--exclude tcpinfo-api --exclude tcpinfo-fuzz --exclude tcpinfo-kernels)

# need_component COMPONENT: of the toolchain in use.
need_component() {
    ! command -v rustup >/dev/null || rustup component list --installed | grep -q "^$1" ||
        rustup component add "$1"
}

# mirror debian|debian-security: where their suites lie, of what apt is configured with.
mirror() {
    apt-get indextargets --format '$(SITE)' | grep -m 1 "/$1/*$" || true
}

# another_suite FOLDER ARCHITECTURE SUITE SITE: the lists of another Debian suite than the installed
# one, in a folder. Leaves the system as it is; apt finds them with APT_CONFIG=FOLDER/apt.conf.
another_suite() {
    local keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$1"/{lists,archives}/partial
    : >"$1/status"
    echo "deb [arch=$2 signed-by=$keys] $4 $3 main" >"$1/sources.list"
    # A mirror may be a frozen one, whose release files are old.
    cat >"$1/apt.conf" <<CONF
APT::Architecture "$2"; APT::Architectures { "$2"; };
APT::Sandbox::User "root";
Dir::Etc::sourcelist "$1/sources.list"; Dir::Etc::sourceparts "-";
Dir::State::lists "$1/lists"; Dir::State::status "$1/status";
Dir::Cache "$1"; Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
    APT_CONFIG=$1/apt.conf apt-get --quiet update >"$1/log" 2>&1 && ! grep -q '^[EW]:' "$1/log"
}
