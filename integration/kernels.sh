#!/usr/bin/env bash
# Boots Debian's kernels with our own program and compares every field with the kernel's own header.
#
#   integration/kernels.sh [--short | --series | RELEASE...] [--save]
#
# Every kernel that the configured mirror offers, from bullseye to experimental, or those of these
# releases; with --series the newest of each series, with --short one of each length and layout of
# TCP_INFO. Big-endian ones (s390x) are in all but the short form. The table is also in
# target/kernels/table.txt. With --save the replies of the newest of each series go to
# integration/data, where the tests replay them.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"

form=every save= named=()
for argument in "$@"; do
    case $argument in
        --short | --series) form=${argument#--} ;;
        --save) save=$PWD/integration/data ;;
        [0-9]*) named+=("$argument") ;;
        *) die "what is $argument? See the head of the script" ;;
    esac
done

need_rust
command -v apt-get >/dev/null || die 'needs apt-get: the kernels are packages of Debian'
[ "$(uname -m)" = x86_64 ] || die 'boots x86_64 kernels with a program built for this machine'
need cpio -- cpio --version
need debian-archive-keyring -- test -e /usr/share/keyrings/debian-archive-keyring.gpg
need gcc libc6-dev -- cc --version
need qemu-system-x86 -- qemu-system-x86_64 --version
need xz-utils -- xz --version
if [ "$form" != short ]; then
    need gcc-s390x-linux-gnu libc6-dev-s390x-cross -- s390x-linux-gnu-gcc --version
    need qemu-system-misc -- qemu-system-s390x --version
    need qemu-user-static -- qemu-s390x-static --version
fi
install_missing

work=$PWD/target/kernels
mkdir -p "$work"/{apt,cache,runs}

# Kernels since 6.9 compute checksums by vector instructions, which qemu 7.2 of Debian 12 gets wrong;
# without these the kernel 6.12.95 gets them wrong itself. Either way no connection is refused. So a
# newer emulator is unpacked beside the installed one.
emulator=(qemu-system-s390x -cpu max)
if [ "$form" != short ] && ! qemu-system-s390x --version | grep -Eq 'version [1-9][0-9]+[.]'; then
    newer=$work/qemu/root/usr
    [ -e "$work/qemu/complete" ] ||
        { integration/suite.sh bookworm-backports "$work/qemu" qemu-system-s390x qemu-system-data &&
            touch "$work/qemu/complete"; } || true
    if "$newer/bin/qemu-system-s390x" --version >/dev/null 2>&1; then
        emulator=("$newer/bin/qemu-system-s390x" -L "$newer/share/qemu" -cpu max)
    else
        echo 'No qemu 10: the kernel 6.12.95 will make no connection on s390x.'
        emulator=(qemu-system-s390x -cpu 'max,vx=off')
    fi
fi

# Of a package of its own, and without what the host's C library is needed for. Optimised little: a
# guest unpacks it into memory and emulates it.
cargo_for_guests() {
    local command=$1 target=$2
    shift 2
    RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR="$work/build" \
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_STRIP=true \
        cargo "$command" --quiet --release --target "$target" "$@"
}
# The guest is also the judge of what guests say.
x86=$work/build/x86_64-unknown-linux-gnu/release/tcpinfo-kernels
big=$work/build/s390x-unknown-linux-gnu/release/tcpinfo-kernels
cargo_for_guests build x86_64-unknown-linux-gnu --package tcpinfo-kernels
if [ "$form" != short ]; then
    need_component rust-src
    # Nobody ships the standard library for it: it is built along, which stable only does when asked.
    export RUSTC_BOOTSTRAP=1 CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc \
        CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER=qemu-s390x-static
    cargo_for_guests build s390x-unknown-linux-gnu --package tcpinfo-kernels -Z build-std=std,test
    echo 'The tests of the decoder, in a big-endian build:'
    decoder() {
        cargo_for_guests test s390x-unknown-linux-gnu -Z build-std=std,test \
            --no-default-features "$@" >>"$work/decoder.log" 2>&1 ||
            { cat "$work/decoder.log"; exit 1; }
    }
    : >"$work/decoder.log"
    decoder --lib
    decoder --test light -- \
        sockets::sentinels:: sockets::kernel_release:: kernels::replay::every_kernel::
    grep '^test result' "$work/decoder.log"
fi

# suite ARCHITECTURE SUITE SITE: what another suite offers.
suite() {
    local folder=$work/apt/$1-$2
    mkdir -p "$folder"
    if another_suite "$folder" "$1" "$2" "$3"; then
        offers "$1" "$2" >"$folder/offers"
    else
        : >"$folder/offers"
        echo "$1 $2: not reached" >"$folder/missing"
    fi
}

# Lines "release version architecture suite package" for each kernel of a suite.
offers() {
    local flavour=cloud-amd64 names
    [ "$1" = amd64 ] || flavour=$1
    export APT_CONFIG=$work/apt/$1-$2/apt.conf
    mapfile -t names < <(apt-cache pkgnames |
        grep -E "^linux-(image|binary)-[0-9].*[0-9]-$flavour(-unsigned)?$" | sort -V)
    [ "${#names[@]}" -gt 0 ] || return 0
    apt-cache show --no-all-versions "${names[@]}" |
        awk -v architecture="$1" -v suite="$2" '
            /^Package:/ { package = $2 }
            /^Version:/ { version = $2 }
            # Packages of packages are smaller than any kernel.
            /^Size:/ && $2 > 1e6 {
                release = package
                sub(/^linux-(image|binary)-/, "", release)
                if (!sub(/-unsigned$/, "", release) || !(release in seen))
                    print release, version, architecture, suite, package
                seen[release]
            }'
}

main=$(mirror debian) security=$(mirror debian-security)
[ -n "$main" ] || die 'apt has no Debian mirror configured'
rm -f "$work"/apt/*/{missing,offers}
architectures=(amd64 s390x)
suites=(bullseye bookworm bookworm-backports trixie trixie-updates trixie-backports forky sid
    experimental)
secured=(bullseye bookworm trixie)
if [ "$form" = short ]; then
    architectures=(amd64) suites=(bookworm trixie trixie-backports) secured=(bookworm trixie)
fi
for architecture in "${architectures[@]}"; do
    for name in "${suites[@]}"; do suite "$architecture" "$name" "$main" & done
    for name in "${secured[@]}"; do
        [ -z "$security" ] || suite "$architecture" "$name-security" "$security" &
    done
done
wait
# A kernel that several suites have is one kernel.
offered=$work/offered.txt
for architecture in "${architectures[@]}"; do cat "$work/apt/$architecture"-*/offers; done |
    sort -u -k 3,3 -k 1,1V -k 2,2V | awk '!seen[$1, $2]++' >"$offered"
[ -s "$offered" ] || die 'no suite was reached'

# newest ARCHITECTURE SERIES: the newest kernel of it.
newest() {
    awk -v architecture="$1" -v series="^${2//./[.]}[.-]" \
        '$3 == architecture && $1 ~ series' "$offered" | sort -V -k 2,2 | tail -n 1
}

chosen=$work/chosen.txt newest=$work/newest.txt absent=()
: >"$newest"
all=(5.10 6.1 6.12 6.16 6.17 6.18 6.19 7.0 7.1 7.2 7.3)
for series in "${all[@]}"; do
    kernel=$(newest amd64 "$series")
    if [ -n "$kernel" ]; then
        echo "$kernel" >>"$newest"
    elif [ "$form" != short ]; then
        absent+=("$series")
    fi
done
# What is newer than this script.
awk '{ split($1, v, /[.+-]/); print v[1] "." v[2] }' "$offered" | sort -uV |
    grep -vxF "$(printf '%s\n' "${all[@]}")" |
    while read -r series; do newest amd64 "$series"; done | sed '/^$/d' >>"$newest" || true
case $form in
    short)
        : >"$chosen"
        # Of each layout the first that is offered: those that also have their modules and header.
        for layout in '232 bytes: 6.1 5.10' '248 bytes: 6.12 6.17 6.16' '280 bytes: 6.18 6.19' \
            '280 bytes, as of 7.0: 7.3 7.2 7.1 7.0'; do
            read -ra series <<<"${layout#*:}"
            kernel=$(for one in "${series[@]}"; do newest amd64 "$one"; done | sed -n 1p)
            if [ -n "$kernel" ]; then echo "$kernel" >>"$chosen"; else absent+=("$layout"); fi
        done
        ;;
    *)
        for series in "${all[@]}"; do newest s390x "$series"; done | sed '/^$/d' >>"$newest"
        cp "$newest" "$chosen"
        [ "$form" != every ] || awk '$3 == "amd64"' "$offered" >>"$chosen"
        sort -u -o "$chosen" "$chosen"
        if [ "${#named[@]}" -gt 0 ]; then
            awk -v named="${named[*]}" 'index(" " named " ", " " $1 " ")' "$chosen" >"$chosen.named"
            mv "$chosen.named" "$chosen"
            [ "$(wc -l <"$chosen")" = "${#named[@]}" ] || die "not all offered: ${named[*]}"
        fi
        grep -q ' s390x ' "$newest" || absent+=('s390x, any')
        ;;
esac

# fetch FOLDER RELEASE VERSION ARCHITECTURE SUITE PACKAGE: kernel, modules and header of a kernel.
fetch() {
    local folder=$1 release=$2 version=$3 debs deb
    [ ! -e "$folder/complete" ] || return 0
    rm -rf "$folder"
    mkdir -p "$folder"/{debs,root,modules,include/linux}
    local base=${release%-cloud-amd64}
    debs=("$6" "linux-headers-${base%-s390x}-common")
    # Since 6.19 modules are a package of their own.
    [[ $6 != linux-binary-* ]] || debs+=("linux-modules-$release")
    # Archives drop the headers and the modules of superseded kernels first.
    for deb in "${debs[@]}"; do
        (cd "$folder/debs" &&
            APT_CONFIG=$work/apt/$4-$5/apt.conf apt-get --quiet download "$deb=$version") ||
            [ "$deb" != "$6" ] || return 1
    done
    for deb in "$folder"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar --extract --directory "$folder/root" --wildcards \
            --no-anchored 'vmlinuz*' 'inet_diag.ko*' 'tcp_*.ko*' 'include/uapi/linux/tcp.h' \
            2>/dev/null || true
    done
    find "$folder/root" -path '*vmlinuz*' -type f -exec mv {} "$folder/vmlinuz" \;
    find "$folder/root" -path '*/net/ipv4/*.ko*' -exec mv {} "$folder/modules/" \;
    find "$folder/root" -path '*/uapi/linux/tcp.h' -exec mv {} "$folder/include/linux/" \;
    find "$folder/modules" -name '*.xz' -exec xz --decompress {} +
    rm -rf "$folder"/{debs,root}
    [ -e "$folder/vmlinuz" ] || return 1
    touch "$folder/complete"
}

# boot FOLDER ARCHITECTURE CONSOLE
boot() {
    local folder=$1 console=$3 root=$3.root guest=$x86 machine
    [ "$2" = amd64 ] || guest=$big
    rm -rf "$root"
    mkdir -p "$root"/{proc,sys,dev}
    cp -r "$folder/modules" "$root/modules"
    cp "$guest" "$root/init"
    (cd "$root" && find . | cpio --create --format newc --quiet | gzip --fast >"$console.initrd")
    rm -rf "$root"
    # Emulated, so that it needs no privilege and no virtualisation.
    if [ "$2" = amd64 ]; then
        # Nor `max`: two in seven boots of 6.12 then ended in a double fault, with qemu 7.2.
        machine=(qemu-system-x86_64 -cpu Nehalem -serial stdio -append
            'console=ttyS0 quiet loglevel=1 panic=-1 nokaslr')
    else
        machine=("${emulator[@]}" -M s390-ccw-virtio -chardev 'stdio,id=console'
            -device 'sclpconsole,chardev=console' -append 'quiet loglevel=1 panic=-1')
    fi
    local attempt
    for attempt in 1 2 3; do
        timeout --foreground 300 "${machine[@]}" -accel tcg -m 512 -smp 1 -nographic -nodefaults \
            -no-reboot -kernel "$folder/vmlinuz" -initrd "$console.initrd" \
            </dev/null >"$console" 2>"$console.errors" || echo "qemu: status $?" >>"$console.errors"
        # Of some hundred boots one still ends so, in the kernel's own allocator. What our program
        # does wrong ends in another panic, and in no second attempt.
        grep -aq 'Kernel panic - not syncing: Fatal exception' "$console" || break
        printf '%s: the emulated kernel crashed, attempt %d\n' "${console##*/}" "$attempt"
    done
    rm -f "$console.initrd"
}

# truth INCLUDE ARCHITECTURE CONSOLE: what the header in a folder says of what the guest said.
truth() {
    local cc=(cc) run=()
    [ "$2" = amd64 ] || cc=(s390x-linux-gnu-gcc) run=(qemu-s390x-static)
    # Members are whatever the struct names once comments are gone.
    sed -n '/^struct tcp_info *{/,/^}/p' "$1/linux/tcp.h" | cc -fpreprocessed -E -P -x c - |
        grep -o '\btcpi_[a-z0-9_]*' | sed 's/.*/MEMBER(&)/' >"$1/members.h"
    "${cc[@]}" -O1 -static -I "$1" -DMEMBERS="\"$1/members.h\"" -o "$1/truth" \
        integration/kernels/truth.c
    "$x86" cases "$3" | "${run[@]}" "$1/truth"
}

# truths FOLDER ARCHITECTURE CONSOLE: by the header that Debian has of the kernel and by the types
# that the kernel has of itself, which have to agree; says which there were.
truths() {
    local btf=$3.btf found=()
    mkdir -p "$btf/linux"
    if "$x86" btf "$3" >"$btf/linux/tcp.h"; then
        truth "$btf" "$2" "$3" >"$3.truth"
        found+=(btf)
    fi
    if [ -e "$1/include/linux/tcp.h" ]; then
        truth "$1/include" "$2" "$3" >"$3.header"
        [ "${#found[@]}" = 0 ] || cmp "$3.truth" "$3.header"
        mv "$3.header" "$3.truth"
        found+=(header)
    fi
    rm -r "$btf"
    echo "${found[*]}"
}

# one RELEASE VERSION ARCHITECTURE SUITE PACKAGE: its row of the table, and what differs.
one() {
    local release=$1 folder console start=$SECONDS status=0 keep=() judge=("$x86")
    folder=$work/cache/$1_$2
    console=$work/runs/$1_$2
    rm -f "$console".*
    if ! fetch "$folder" "$@" >"$console.fetch" 2>&1; then
        echo "$release: cannot be had" >"$console.absent"
        return 0
    fi
    boot "$folder" "$3" "$console"
    # Not `if`, which would let it go on after an error.
    set +e
    (set -e; truths "$folder" "$3" "$console") >"$console.by" 2>>"$console.errors"
    status=$?
    set -e
    [ "$status" = 0 ] || rm -f "$console.truth"
    if [ -n "$save" ] && grep -qxF "$*" "$newest"; then keep=("$save"); fi
    # Replies are decoded in the byte order in which they were written.
    if [ "$3" != amd64 ]; then judge=(qemu-s390x-static "$big"); fi
    "${judge[@]}" check "$console" "$console.truth" "$(cat "$console.by")" "${keep[@]}" \
        >"$console.row" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        sed 's/^/    /' "$console.errors" >>"$console.row"
        touch "$console.failed"
    fi
    printf '%4d s  %s\n' $((SECONDS - start)) "$release"
}

count=$(wc -l <"$chosen")
echo "Booting $count of $(wc -l <"$offered") kernels, $(nproc) at a time"
rm -f "$work"/runs/*
start=$SECONDS
while read -r -a kernel; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    one "${kernel[@]}" &
done <"$chosen"
wait

shopt -s nullglob
table=$work/table.txt
{
    "$x86" columns
    rows=("$work"/runs/*.row)
    [ "${#rows[@]}" = 0 ] || printf '%s\n' "${rows[@]}" | sort -V | xargs cat
} | tee "$table"
lost=("$work"/runs/*.absent) failed=("$work"/runs/*.failed) unreached=("$work"/apt/*/missing)
for kernel in "${absent[@]}"; do echo "SKIPPED: no kernel of $kernel is offered"; done
for file in "${lost[@]}" "${unreached[@]}"; do echo "SKIPPED: $(cat "$file")"; done
echo "SKIPPED: 240 bytes (6.2 to 6.6), of which Debian has no kernel: shortened replies stand in"
rows=("$work"/runs/*.row)
printf '%d booted, %d of them differ, %d missing, in %d s\n' "${#rows[@]}" "${#failed[@]}" \
    $((${#absent[@]} + ${#lost[@]})) $((SECONDS - start)) | tee -a "$table"
[ "${#failed[@]}" = 0 ] && [ "${#rows[@]}" -gt 0 ] || die 'see the differences above'
