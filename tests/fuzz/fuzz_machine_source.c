/* Any text as the source of a machine: loading it ends, with a verdict, and cannot crash; and two
 * Lua states (with different seeds for their string hashes) come to the same one. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "script/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine_info info[2];
    struct why why[2] = {{.text = ""}, {.text = ""}};
    enum err e[2];
    for (int i = 0; i < 2; i++) {
        e[i] = machines_check(bytes_of(data, size), &info[i], &why[i]);
    }
    if (e[0] != ERR_IO && e[1] != ERR_IO) {
        ASSERT(e[0] == e[1]);
        ASSERT(strcmp(why[0].text, why[1].text) == 0);
    }
    return 0;
}
