/* A snapshot is read by another thread while the owner writes. Most of what this shows, it shows
 * under ThreadSanitizer. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/queue.h"
#include "base/rng.h"
#include "state/state.h"

enum { KEYS = 3000, ROUNDS = 40, IN_FLIGHT_MAX = 3 };

struct reader {
    struct queue to_read;
    struct queue done;
    unsigned different; /* the reader's own until it is joined */
};

/* Build the same contents from what the cursor shows, as another node would. */
static bool reads_as_taken(const struct state_snapshot *snapshot)
{
    struct state *copy = state_new();
    struct state_cursor c;
    bool on = state_seek_snapshot(&c, snapshot, bytes_of(NULL, 0));
    for (; on; on = state_next(&c)) {
        state_set(copy, c.key, c.value);
    }
    bool same = state_hash_equal(state_hash(copy), state_snapshot_hash(snapshot)) &&
                state_count(copy) == state_snapshot_count(snapshot);
    state_free(copy);
    return same;
}

static void *read_snapshots(void *arg)
{
    struct reader *r = arg;
    struct state_snapshot *snapshot;
    while ((snapshot = queue_wait(&r->to_read)) != NULL) {
        r->different += !reads_as_taken(snapshot);
        queue_push(&r->done, snapshot);
    }
    queue_end(&r->done);
    return NULL;
}

static void write_some(struct state *s, struct rng *rng)
{
    for (unsigned i = 0; i < 500; i++) {
        char key[32];
        char value[32];
        int key_size = snprintf(key, sizeof key, "k/%04u", (unsigned)rng_range(rng, 0, KEYS));
        int value_size = snprintf(value, sizeof value, "%u", (unsigned)rng_range(rng, 0, 1u << 30));
        state_begin(s);
        if (rng_chance(rng, 0.3)) {
            state_delete(s, bytes_of(key, (size_t)key_size));
        } else {
            state_set(s, bytes_of(key, (size_t)key_size), bytes_of(value, (size_t)value_size));
        }
        if (rng_chance(rng, 0.2)) {
            state_rollback(s);
        } else {
            state_commit(s);
        }
    }
}

static void snapshots_are_read_by_another_thread_while_the_owner_writes(void **ctx)
{
    (void)ctx;
    struct rng rng;
    struct reader reader = {0};
    struct state *s = state_new();
    unsigned in_flight = 0;
    pthread_t thread;
    rng_seed(&rng, 7);
    queue_init(&reader.to_read, 2 * IN_FLIGHT_MAX, NULL, NULL);
    queue_init(&reader.done, 2 * IN_FLIGHT_MAX, NULL, NULL);
    assert_int_equal(pthread_create(&thread, NULL, read_snapshots, &reader), 0);

    for (unsigned round = 0; round < ROUNDS; round++) {
        write_some(s, &rng);
        assert_true(queue_push(&reader.to_read, state_snapshot_take(s)));
        in_flight++;
        write_some(s, &rng);
        struct state_snapshot *back = queue_pop(&reader.done);
        if (back == NULL && in_flight == IN_FLIGHT_MAX) {
            back = queue_wait(&reader.done);
        }
        if (back != NULL) {
            state_snapshot_release(s, back);
            in_flight--;
        }
        state_reclaim(s, 100);
    }
    queue_end(&reader.to_read);
    struct state_snapshot *back;
    while ((back = queue_wait(&reader.done)) != NULL) {
        state_snapshot_release(s, back);
    }
    pthread_join(thread, NULL);
    assert_int_equal(reader.different, 0);
    state_check(s);
    state_free(s);
    queue_close(&reader.to_read);
    queue_close(&reader.done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_are_read_by_another_thread_while_the_owner_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
