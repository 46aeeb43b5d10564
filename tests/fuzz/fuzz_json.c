/* Any bytes as JSON: what is accepted comes back as text that means the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "script/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer once = {0};
    struct buffer twice = {0};
    struct buffer text = {0};
    if (json_to_msgpack(bytes_of(data, size), &once, NULL) == ERR_OK) {
        ASSERT(json_from_msgpack(buffer_bytes(&once), NULL, &text, NULL) == ERR_OK);
        ASSERT(json_to_msgpack(buffer_bytes(&text), &twice, NULL) == ERR_OK);
        ASSERT(bytes_equal(buffer_bytes(&once), buffer_bytes(&twice)));
    }
    buffer_close(&once);
    buffer_close(&twice);
    buffer_close(&text);
    return 0;
}
