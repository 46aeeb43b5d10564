/* Any bytes as a file of the tz database: what is accepted has spans that lie end to end, and every
 * expression is due in it at times that ascend. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "calendar/cron.h"

enum { STEPS = 8 };

static void walk(const struct time_zone *zone, int64_t at_s)
{
    for (int i = 0; i < STEPS; i++) {
        struct time_zone_span span = time_zone_span(zone, at_s);
        ASSERT(span.from_s <= at_s);
        ASSERT(at_s < span.to_s);
        if (span.to_s == INT64_MAX) {
            return;
        }
        at_s = span.to_s;
    }
}

static void ascend(const struct time_zone *zone, const char *text, int64_t at_ms)
{
    struct cron cron;
    ASSERT(cron_parse(text, &cron, NULL) == ERR_OK);
    for (int i = 0; i < STEPS; i++) {
        int64_t before_ms = at_ms;
        if (!cron_next(&cron, zone, before_ms, &at_ms)) {
            return;
        }
        ASSERT(at_ms > before_ms);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes file = bytes_of(data, size);
    struct time_zone *zone = malloc(time_zone_size(file));
    if (time_zone_read("fuzz", file, zone, NULL) == ERR_OK) {
        static const int64_t moments_s[] = {-5000000000, 0, 1711846800, 4000000000, 200000000000};
        for (size_t i = 0; i < sizeof moments_s / sizeof moments_s[0]; i++) {
            walk(zone, moments_s[i]);
            ascend(zone, "30 2 * * *", moments_s[i] * 1000);
            ascend(zone, "*/20 * 31 3 *", moments_s[i] * 1000);
        }
    }
    free(zone);
    return 0;
}
