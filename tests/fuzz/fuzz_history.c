/* Histories as text, and the checker on them: whatever is read is given an answer within the
 * limits, by both models; and a prefix that is called the shortest illegal one is illegal. */
#include <stdint.h>

#include "base/assert.h"
#include "sim/history_file.h"
#include "sim/linearizability.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct history *h, const struct lin_model *m)
{
    const struct lin_limits limits = {.steps_max = 20000, .memory_max_bytes = 1 << 22};
    struct lin_verdict v;
    uint32_t operations, events;
    const struct history_operation *o = history_operations(h, &operations);
    history_events(h, &events);
    if (linearizable_check(h, m, &limits, &v) == ERR_OK && v.answer == LIN_ILLEGAL) {
        ASSERT(v.operation < operations);
        ASSERT(v.events <= events);
        ASSERT(o[v.operation].returned == v.events - 1);
        ASSERT(v.words.size > 0);
    }
    lin_verdict_close(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct history *h;
    enum history_format format;
    struct why why;
    if (history_parse(bytes_of(data, size), &h, &format, &why) == ERR_OK) {
        check(h, &lin_register);
        check(h, &lin_kv);
        history_free(h);
    }
    return 0;
}
