#!/usr/bin/env bash
# Unpacks packages of another Debian suite than the installed one, and leaves the system as it is.
#
#   integration/suite.sh SUITE FOLDER PACKAGE...
#
# The files are below FOLDER/root afterwards. The mirror is the one that apt uses already.
set -euo pipefail

die() {
    printf 'integration/suite.sh: %s\n' "$*" >&2
    exit 1
}

[ $# -ge 3 ] || die 'usage: integration/suite.sh SUITE FOLDER PACKAGE...'
suite=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2

for program in apt-get dpkg-deb; do
    command -v "$program" >/dev/null || die "needs Debian: $program is not in PATH"
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keys" ] || die "no $keys: apt-get install debian-archive-keyring"
mirror=$(apt-get indextargets --format '$(SITE)' | grep '/debian/*$' | head -n 1) ||
    die 'apt has no mirror of Debian'

mkdir -p "$folder"/{lists/partial,cache/archives/partial,packages,root}
: >"$folder/status"
echo "deb [signed-by=$keys] $mirror $suite main" >"$folder/sources.list"
# A mirror may be a frozen one, whose release files are old.
cat >"$folder/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Get::List-Cleanup "0";
APT::Sandbox::User "root";
CONF
export APT_CONFIG=$folder/apt.conf

if [ ! -e "$folder/updated" ]; then
    apt-get -qq update || die "the mirror $mirror has no suite $suite"
    touch "$folder/updated"
fi
cd "$folder/packages"
apt-get -qq download "$@"
for package in *.deb; do
    dpkg-deb -x "$package" ../root
    rm "$package"
done
