#!/usr/bin/env bash
# Unpacks packages of another Debian suite than the installed one, and leaves the system as it is.
#
#   integration/suite.sh SUITE FOLDER PACKAGE...
#
# The files are below FOLDER/root afterwards. The mirror is the one that apt uses already. FOLDER is
# absolute, or from the repository's root.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"

[ $# -ge 3 ] || die 'usage: integration/suite.sh SUITE FOLDER PACKAGE...'
suite=$1
mkdir -p "$2"/{packages,root}
folder=$(cd "$2" && pwd)
shift 2

for program in apt-get dpkg-deb; do
    command -v "$program" >/dev/null || die "needs Debian: $program is not in PATH"
done
debian=$(mirror debian)
[ -n "$debian" ] || die 'apt has no Debian mirror configured'
if [ ! -e "$folder/updated" ]; then
    another_suite "$folder" "$(dpkg --print-architecture)" "$suite" "$debian" ||
        die "no suite $suite: $(tail -n 1 "$folder/log")"
    touch "$folder/updated"
fi
cd "$folder/packages"
APT_CONFIG=$folder/apt.conf apt-get -qq download "$@"
for package in *.deb; do
    dpkg-deb -x "$package" ../root
    rm "$package"
done
