#!/usr/bin/env bash
# Makes the picture of README.md, docs/demo.svg, from what the demo really prints.
#
#   integration/picture.sh             runs the demo for 20 seconds and draws its last table
#   integration/picture.sh < tables    draws the last of the tables that the demo printed before
#
# integration/picture.py draws; Python's own library is enough for it.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"

[ $# = 0 ] || die "unknown argument $1: it takes none"
need python3-minimal -- /usr/bin/python3 --version
install_missing

demo='cargo run -p example-demo'

printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
if [ -p /dev/stdin ] || [ -f /dev/stdin ]; then
    cat >"$printed"
else
    need_rust
    # Built first, so that the 20 seconds are the demo's.
    ${demo/run/build} --quiet
    # Not on a terminal: there it would overwrite each table by the next one.
    timeout 20 $demo --quiet -- --listen 127.0.0.1:0 >"$printed" </dev/null || [ $? = 124 ]
fi

/usr/bin/python3 integration/picture.py "$demo" <"$printed" >docs/demo.svg.new
mv docs/demo.svg.new docs/demo.svg
echo "docs/demo.svg: $(stat --format %s docs/demo.svg) bytes"
