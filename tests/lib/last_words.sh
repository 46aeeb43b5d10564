#!/bin/sh
# last_words.sh BUILD-FOLDER: what the tests that failed in the last run of ctest said at their ends, once more, so
# that it is at the end of a long log too.
set -eu
awk '
    function show(  i) {
        print "---- " name " failed; its last lines:"
        for (i = count > most ? count - most + 1 : 1; i <= count; i++)
            print line[i]
    }
    BEGIN { most = 100 }
    /^[0-9]+\/[0-9]+ Test(ing)?: / { name = $NF; count = 0; inside = 0 }
    /^Output:$/ { inside = 1; count = 0; next }
    /^<end of output>$/ { inside = 0 }
    /^Test Failed/ { show() }
    inside && !/^-+$/ { line[++count] = $0 }
' "$1/Testing/Temporary/LastTest.log"
