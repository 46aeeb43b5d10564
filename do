#!/bin/sh
# One entry for everything one does with a checkout: ./do help
set -eu
cd "$(dirname "$0")"

usage() {
    cat <<'TEXT'
Usage: ./do VERB

  build            build/moonkeeper, the release binary
  demo [--for 1m]  build it, and see an election, commands, and the death of a leader
  test [REGEX]     build and run all tests (or those whose names match)
  lint [CHECK...]  formatting, clang-tidy, luacheck, shellcheck, the order of the folders
  bench [--json]   compare with etcd on this machine
  bench NAME [...] one of the benchmarks in tests/bench/, e.g. elections, simulator
  swarm [--seeds N]  random clusters in simulation, under all kinds of faults
  mutate [RULE...]   take each protecting rule out in turn: does a test miss it?
  clean            remove what was built
  help             this

What a verb needs is installed with apt-get if it is missing (as root, or through sudo).
TEXT
}

say() {
    printf '%s\n' "$*" >&2
}

# ---- packages -----------------------------------------------------------------------------------

build_packages="gcc libc6-dev cmake ninja-build pkg-config liblua5.4-dev libevent-dev libmsgpack-dev
    libxxhash-dev libjansson-dev libmd-dev uthash-dev libssl-dev"
test_packages="libcmocka-dev python3 python3-pynvim procps openssl"
lint_packages="clang clang-format clang-tidy lua-check shellcheck git"
bench_packages="python3 procps etcd-server nghttp2-client"

is_installed() {
    [ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" = "install ok installed" ]
}

# Install those of the packages that are missing.
need() {
    command -v dpkg-query >/dev/null || return 0 # not Debian: the build will say what it lacks
    missing=
    for package in "$@"; do
        is_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            say "missing packages:$missing"
            say "install them as root: apt-get install$missing"
            exit 1
        }
        root=sudo
    fi
    say "installing:$missing"
    $root apt-get update -q >&2 || say "apt-get update failed; trying with what is known"
    # shellcheck disable=SC2086 # a list of words
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        $missing >&2 || {
        say "apt-get could not install:$missing"
        say "./do $verb needs them: install them in another way, or see above what apt-get lacks"
        exit 1
    }
}

# ---- building -----------------------------------------------------------------------------------

jobs() {
    nproc 2>/dev/null || echo 2
}

# configure PRESET [FLAG...]: only once, or when the flags change.
build_preset() {
    preset=$1
    shift
    cmake --preset "$preset" "$@" >/dev/null
}

build_binary() {
    # shellcheck disable=SC2086
    need $build_packages
    build_preset release -DMK_TESTS=OFF
    cmake --build build --parallel "$(jobs)" --target moonkeeper
}

# build_tests PRESET FOLDER
build_tests() {
    # shellcheck disable=SC2086
    need $build_packages $test_packages
    build_preset "$1" -DMK_TESTS=ON
    cmake --build "$2" --parallel "$(jobs)"
}

# ---- verbs --------------------------------------------------------------------------------------

# run_tests FOLDER [CTEST FLAG...]: ends with "N passed, N failed".
run_tests() {
    folder=$1
    shift
    log=$folder/Testing/do-test.log
    mkdir -p "$folder/Testing"
    status=0
    # A pipe would hide the status of ctest: keep it in a file.
    { ctest --test-dir "$folder" --output-on-failure --parallel "$(jobs)" "$@" || echo "$?" \
        >"$log.status"; } 2>&1 | tee "$log"
    if [ -f "$log.status" ]; then
        status=$(cat "$log.status")
        rm -f "$log.status"
    fi
    summary=$(sed -n 's/^.*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$log")
    if [ -z "$summary" ]; then
        say "no tests ran"
        exit 1
    fi
    failed=${summary% *}
    total=${summary#* }
    [ "$failed" -eq 0 ] || tests/lib/last_words.sh "$folder"
    echo "$((total - failed)) passed, $failed failed"
    return "$status"
}

do_build() {
    build_binary
    say "built: build/moonkeeper"
}

do_demo() {
    build_binary
    exec build/moonkeeper demo "$@"
}

do_test() {
    preset=release folder=build
    while [ $# -gt 0 ]; do
        case $1 in
        --preset)
            preset=$2 folder=build-$2
            [ "$2" = release ] && folder=build
            shift 2
            ;;
        *) break ;;
        esac
    done
    build_tests "$preset" "$folder"
    if [ $# -gt 0 ]; then
        run_tests "$folder" -R "$@"
    else
        run_tests "$folder"
    fi
}

do_lint() {
    # shellcheck disable=SC2086
    need $build_packages $test_packages $lint_packages
    build_preset release -DMK_TESTS=ON
    cmake --build build --parallel "$(jobs)" --target mk_script >/dev/null # generated sources
    exec tests/lint/all.sh build "$@"
}

# One program of tests/bench/.
do_bench_program() {
    name=$1
    shift
    if [ ! -f "tests/bench/$name.c" ]; then
        say "./do bench: there is no tests/bench/$name.c"
        exit 2
    fi
    # shellcheck disable=SC2086
    need $build_packages $test_packages
    build_preset release -DMK_TESTS=ON
    cmake --build build --parallel "$(jobs)" --target "bench_$name" >&2
    exec "build/tests/bench/bench_$name" "$@"
}

do_bench() {
    case ${1:--} in
    -*) ;;
    *) do_bench_program "$@" ;;
    esac
    # shellcheck disable=SC2086
    need $build_packages $test_packages $bench_packages
    build_preset release -DMK_TESTS=ON
    cmake --build build --parallel "$(jobs)" --target moonkeeper benches >&2
    exec python3 tests/bench/compare.py --build build "$@"
}

do_swarm() {
    # shellcheck disable=SC2086
    need $build_packages $test_packages
    build_preset release
    cmake --build build --parallel "$(jobs)" --target moonkeeper >&2
    if [ $# -eq 0 ]; then
        set -- --seeds 1000
    fi
    exec build/moonkeeper test --swarm "$@"
}

do_mutate() {
    # shellcheck disable=SC2086
    need $build_packages $test_packages
    exec tests/mutate/mutate.py "$@"
}

verb=${1:-help}
[ $# -eq 0 ] || shift
case $verb in
build) do_build ;;
demo) do_demo "$@" ;;
test) do_test "$@" ;;
lint) do_lint "$@" ;;
bench) do_bench "$@" ;;
swarm) do_swarm "$@" ;;
mutate) do_mutate "$@" ;;
clean) rm -rf build build-* ;;
help | -h | --help) usage ;;
*)
    say "./do: there is no verb \"$verb\""
    usage >&2
    exit 2
    ;;
esac
