/* Each command takes effect once, whoever sends it again and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/rng.h"
#include "node/sessions.h"
#include "wire/writer.h"

static const int64_t ttl_ms = 1000000;
static const int64_t start_ms = 1000000000;

struct world {
    struct sessions sessions;
};

static int setup(void **context)
{
    static struct world w;
    w.sessions = (struct sessions){.state = state_new(), .ttl_ms = ttl_ms};
    *context = &w;
    return 0;
}

static int teardown(void **context)
{
    struct world *w = *context;
    state_check(w->sessions.state);
    state_free(w->sessions.state);
    return 0;
}

static struct entry command(uint8_t session, uint64_t seq, int64_t time_ms)
{
    struct entry e = {.kind = ENTRY_COMMAND, .seq = seq, .time_ms = time_ms};
    memset(e.session, session, sizeof e.session);
    return e;
}

static enum err open_session(struct world *w, uint8_t session, int64_t opened_ms, int64_t time_ms)
{
    struct buffer payload = {0};
    write_i64(&payload, opened_ms);
    struct entry e = command(session, 0, time_ms);
    e.kind = ENTRY_SESSION;
    e.payload = buffer_bytes(&payload);
    enum err err = sessions_open(&w->sessions, &e);
    buffer_close(&payload);
    return err;
}

static enum session_verdict apply(struct world *w, const struct entry *e, struct outcome *outcome)
{
    struct outcome kept;
    enum session_verdict verdict = sessions_check(&w->sessions, e, &kept);
    if (verdict == SESSION_FRESH) {
        sessions_record(&w->sessions, e, outcome);
    } else {
        *outcome = kept;
    }
    sessions_expire(&w->sessions, e->time_ms);
    return verdict;
}

static enum session_verdict apply_seq(struct world *w, uint8_t session, uint64_t seq,
                                      int64_t time_ms)
{
    struct entry e = command(session, seq, time_ms);
    struct outcome outcome = {.err = ERR_OK};
    return apply(w, &e, &outcome);
}

static void a_command_is_applied_once(void **context)
{
    struct world *w = *context;
    assert_int_equal(open_session(w, 1, start_ms, start_ms), ERR_OK);
    assert_int_equal(apply_seq(w, 1, 1, start_ms), SESSION_FRESH);
    assert_int_equal(apply_seq(w, 1, 1, start_ms), SESSION_DUPLICATE);
    assert_int_equal(apply_seq(w, 1, 2, start_ms), SESSION_FRESH);
    assert_int_equal(apply_seq(w, 1, 1, start_ms), SESSION_DUPLICATE);
}

static void a_session_that_was_not_opened_is_refused(void **context)
{
    assert_int_equal(apply_seq(*context, 1, 1, start_ms), SESSION_EXPIRED);
}

static void any_order_of_numbers_is_remembered(void **context)
{
    struct world *w = *context;
    enum { NUMBERS = 200 };
    assert_int_equal(open_session(w, 1, start_ms, start_ms), ERR_OK);
    uint64_t order[NUMBERS];
    struct rng rng;
    rng_seed(&rng, 7);
    for (uint64_t i = 0; i < NUMBERS; i++) {
        /* Shuffled within a window, so that the gaps stay below SESSIONS_RANGES_MAX. */
        uint64_t at = rng_range(&rng, i > 60 ? i - 60 : 0, i + 1);
        order[i] = order[at];
        order[at] = i + 1;
    }
    for (int i = 0; i < NUMBERS; i++) {
        assert_int_equal(apply_seq(w, 1, order[i], start_ms), SESSION_FRESH);
        for (int j = 0; j <= i; j++) {
            assert_int_equal(apply_seq(w, 1, order[j], start_ms), SESSION_DUPLICATE);
        }
    }
    assert_int_equal(apply_seq(w, 1, NUMBERS + 1, start_ms), SESSION_FRESH);
}

static void beyond_the_limit_the_oldest_gap_is_closed(void **context)
{
    struct world *w = *context;
    assert_int_equal(open_session(w, 1, start_ms, start_ms), ERR_OK);
    for (uint64_t i = 1; i <= SESSIONS_RANGES_MAX + 1; i++) {
        assert_int_equal(apply_seq(w, 1, 2 * i, start_ms), SESSION_FRESH);
    }
    assert_int_equal(apply_seq(w, 1, 1, start_ms), SESSION_DUPLICATE);
    assert_int_equal(apply_seq(w, 1, 3, start_ms), SESSION_FRESH);
}

static void an_expired_session_is_refused_and_cannot_be_opened_again(void **context)
{
    struct world *w = *context;
    assert_int_equal(open_session(w, 1, start_ms, start_ms), ERR_OK);
    assert_int_equal(apply_seq(w, 1, 5, start_ms), SESSION_FRESH);
    int64_t later = start_ms + ttl_ms + 1;
    sessions_expire(&w->sessions, later);
    assert_int_equal(apply_seq(w, 1, 5, later), SESSION_EXPIRED);
    assert_int_equal(open_session(w, 1, start_ms, later), ERR_EXPIRED);
    assert_int_equal(state_count(w->sessions.state), 0);
}

static void a_session_opened_by_a_clock_that_is_ahead_cannot_come_back_either(void **context)
{
    struct world *w = *context;
    int64_t ahead = start_ms + ttl_ms / 2;
    assert_int_equal(open_session(w, 1, ahead, start_ms), ERR_OK);
    assert_int_equal(apply_seq(w, 1, 1, start_ms), SESSION_FRESH);
    for (int64_t time = start_ms; time < start_ms + 4 * ttl_ms; time += ttl_ms / 64) {
        sessions_expire(&w->sessions, time);
        if (state_count(w->sessions.state) == 0) {
            assert_int_equal(open_session(w, 1, ahead, time), ERR_EXPIRED);
        }
    }
    assert_int_equal(state_count(w->sessions.state), 0);
}

static void a_session_in_use_does_not_expire(void **context)
{
    struct world *w = *context;
    assert_int_equal(open_session(w, 1, start_ms, start_ms), ERR_OK);
    for (uint64_t i = 1; i < 100; i++) {
        int64_t time = start_ms + (int64_t)i * ttl_ms / 4;
        assert_int_equal(apply_seq(w, 1, i, time), SESSION_FRESH);
    }
}

static void a_users_key_gives_back_the_first_outcome(void **context)
{
    struct world *w = *context;
    static const uint8_t result[] = {42};
    struct entry e = command(9, 0, start_ms);
    struct outcome outcome = {.err = ERR_CONFLICT,
                              .message = bytes_of_string("no"),
                              .result = bytes_of(result, sizeof result)};
    assert_int_equal(apply(w, &e, &outcome), SESSION_FRESH);
    struct outcome again = {.err = ERR_OK};
    assert_int_equal(apply(w, &e, &again), SESSION_DUPLICATE);
    assert_int_equal(again.err, ERR_CONFLICT);
    assert_true(bytes_equal(again.message, bytes_of_string("no")));
    assert_true(bytes_equal(again.result, bytes_of(result, sizeof result)));
    assert_false(again.result_forgotten);
    again = (struct outcome){.err = ERR_OK};
    e.time_ms = start_ms + ttl_ms;
    sessions_expire(&w->sessions, e.time_ms);
    assert_int_equal(apply(w, &e, &again), SESSION_FRESH);
}

static void a_long_result_of_a_key_is_known_to_be_forgotten(void **context)
{
    struct world *w = *context;
    struct buffer result = {0};
    static const char text[SESSIONS_RESULT_BYTES_MAX];
    write_bin(&result, bytes_of(text, sizeof text));
    struct entry e = command(9, 0, start_ms);
    struct outcome outcome = {.err = ERR_OK, .result = buffer_bytes(&result)};
    assert_int_equal(apply(w, &e, &outcome), SESSION_FRESH);
    assert_int_equal(apply(w, &e, &outcome), SESSION_DUPLICATE);
    assert_true(outcome.result_forgotten);
    buffer_close(&result);
}

static void the_number_of_keys_is_bounded(void **context)
{
    struct world *w = *context;
    for (uint32_t i = 0; i < SESSIONS_KEYS_MAX + 1000; i++) {
        struct entry e = command(0, 0, start_ms + i);
        memcpy(e.session, &i, sizeof i);
        e.session[15] = 1;
        struct outcome outcome = {.err = ERR_OK};
        assert_int_equal(apply(w, &e, &outcome), SESSION_FRESH);
    }
    /* A record and an expiry for each, and the count. */
    assert_in_range(state_count(w->sessions.state), 1, 2 * (SESSIONS_KEYS_MAX + 8) + 1);
}

/* What a fresh look at the state says must be what one says that knows the state so far: otherwise
 * a node that restarts or restores a snapshot goes another way than the rest. */
static void what_is_known_beside_the_state_changes_nothing(void **context)
{
    struct world *w = *context;
    struct world fresh = {.sessions = {.state = state_new(), .ttl_ms = ttl_ms}};
    struct rng rng;
    rng_seed(&rng, 7);
    int64_t time_ms = start_ms;
    for (int i = 0; i < 20000; i++) {
        time_ms += (int64_t)rng_range(&rng, 0, (uint64_t)ttl_ms / 200);
        uint8_t id = (uint8_t)rng_range(&rng, 1, 20);
        struct entry e = command(id, rng_range(&rng, 0, 300), time_ms);
        struct outcome a = {.err = ERR_OK};
        struct outcome b = {.err = ERR_OK};
        sessions_replaced(&fresh.sessions);
        if (rng_chance(&rng, 0.1)) {
            assert_int_equal(open_session(w, id, time_ms, time_ms),
                             open_session(&fresh, id, time_ms, time_ms));
        }
        sessions_replaced(&fresh.sessions);
        assert_int_equal(apply(w, &e, &a), apply(&fresh, &e, &b));
        assert_int_equal(a.err, b.err);
        assert_true(
            state_hash_equal(state_hash(w->sessions.state), state_hash(fresh.sessions.state)));
    }
    state_free(fresh.sessions.state);
}

static void a_state_that_is_replaced_is_looked_at_again(void **context)
{
    struct world *w = *context;
    assert_int_equal(open_session(w, 1, start_ms, start_ms), ERR_OK);
    assert_int_equal(apply_seq(w, 1, 1, start_ms), SESSION_FRESH);
    struct world older = {.sessions = {.state = state_new(), .ttl_ms = ttl_ms}};
    int64_t older_ms = start_ms - ttl_ms / 2;
    assert_int_equal(open_session(&older, 2, older_ms, older_ms), ERR_OK);
    struct state *before = w->sessions.state;
    w->sessions.state = older.sessions.state;
    sessions_replaced(&w->sessions);
    assert_int_equal(apply_seq(w, 1, 2, start_ms), SESSION_EXPIRED);
    sessions_expire(&w->sessions, older_ms + ttl_ms);
    assert_int_equal(state_count(w->sessions.state), 0);
    w->sessions.state = before;
    sessions_replaced(&w->sessions);
    assert_int_equal(apply_seq(w, 1, 2, start_ms), SESSION_FRESH);
    state_free(older.sessions.state);
}

static void without_a_session_nothing_is_remembered(void **context)
{
    struct world *w = *context;
    assert_int_equal(apply_seq(w, 0, 1, start_ms), SESSION_FRESH);
    assert_int_equal(apply_seq(w, 0, 1, start_ms), SESSION_FRESH);
    assert_int_equal(state_count(w->sessions.state), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_command_is_applied_once),
        TEST(a_session_that_was_not_opened_is_refused),
        TEST(any_order_of_numbers_is_remembered),
        TEST(beyond_the_limit_the_oldest_gap_is_closed),
        TEST(an_expired_session_is_refused_and_cannot_be_opened_again),
        TEST(a_session_opened_by_a_clock_that_is_ahead_cannot_come_back_either),
        TEST(a_session_in_use_does_not_expire),
        TEST(a_users_key_gives_back_the_first_outcome),
        TEST(a_long_result_of_a_key_is_known_to_be_forgotten),
        TEST(the_number_of_keys_is_bounded),
        TEST(what_is_known_beside_the_state_changes_nothing),
        TEST(a_state_that_is_replaced_is_looked_at_again),
        TEST(without_a_session_nothing_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
