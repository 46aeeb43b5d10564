#!/bin/sh
# A folder of src/ may include only itself and the folders above it in this list (ARCHITECTURE.md).
# Of raft/, others may include raft.h only.
set -eu
cd "$(dirname "$0")/../.."

order="base calendar raft port wire state store net script node sim scenario guardian cli"

bad=$(
    allowed=
    for folder in $order; do
        allowed="$allowed $folder"
        [ -d "src/$folder" ] || continue
        # file:line:included path
        grep -nH '^#include "' "src/$folder"/*.[ch] 2>/dev/null |
            sed 's/^\([^:]*:[0-9]*\):#include "\([^"]*\)".*/\1 \2/' |
            while read -r place included; do
                case " $allowed " in
                *" ${included%%/*} "*) ;;
                *) echo "$place: $folder/ may not include $included: only$allowed" ;;
                esac
                case $included in
                raft/raft.h) ;;
                raft/*) [ "$folder" = raft ] ||
                    echo "$place: of raft/, only raft.h may be included elsewhere" ;;
                esac
            done
    done
    for folder in src/*/; do
        name=$(basename "$folder")
        case " $order " in
        *" $name "*) ;;
        *) echo "src/$name: not in the list of tests/lint/layers.sh" ;;
        esac
    done
)
if [ -n "$bad" ]; then
    echo "$bad"
    exit 1
fi
