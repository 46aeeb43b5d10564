/* Deleting runs of keys. */
#include "base/bytes.h"
#include "state/node.h"
#include "state/state.h"

size_t state_delete_range(struct state *s, struct state_range range, size_t count_max)
{
    size_t count = 0;
    struct state_cursor c;
    for (bool on = state_seek(&c, s, range.lo); on && count < count_max; on = state_next(&c)) {
        if (range.hi.size > 0 && bytes_compare(c.key, range.hi) >= 0) {
            break;
        }
        state_delete(s, c.key);
        count++;
    }
    return count;
}

size_t state_delete_prefix(struct state *s, struct bytes prefix, size_t count_max)
{
    size_t count = 0;
    struct state_cursor c;
    for (bool on = state_seek(&c, s, prefix); on && count < count_max; on = state_next(&c)) {
        if (common_size(c.key, prefix, prefix.size) < prefix.size) {
            break;
        }
        state_delete(s, c.key);
        count++;
    }
    return count;
}
