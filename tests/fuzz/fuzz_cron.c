/* Any text as a cron expression: what is accepted is due at times that ascend. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "calendar/cron.h"

enum { TEXT_MAX = 512, STEPS = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX];
    size = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, size);
    text[size] = 0;
    struct cron cron;
    struct why why = {0};
    struct time_zone utc;
    time_zone_utc(&utc);
    if (cron_parse(text, &cron, &why) != ERR_OK) {
        ASSERT(why.text[0] != 0);
        return 0;
    }
    int64_t at_ms = 1700000000000;
    for (int i = 0; i < STEPS; i++) {
        int64_t before_ms = at_ms;
        ASSERT(cron_next(&cron, &utc, before_ms, &at_ms));
        ASSERT(at_ms > before_ms);
        ASSERT(at_ms % 60000 == 0);
    }
    return 0;
}
