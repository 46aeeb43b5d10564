#include "node/sessions.h"

#include <string.h>

#include "base/assert.h"
#include "script/machine.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* ---- keys and records ----------------------------------------------------------------------- */

enum { RECORD_BYTES = 32, RANGE_BYTES = 18 }; /* at most */

struct key_text {
    uint8_t text[2 + 8 + 1 + ENTRY_SESSION_BYTES];
    size_t size;
};

static struct bytes key_bytes(const struct key_text *k)
{
    return bytes_of(k->text, k->size);
}

static struct key_text record_key(char kind, const uint8_t *id)
{
    struct key_text k = {.text = {MACHINES_KEY_SYSTEM, (uint8_t)kind}, .size = 2};
    memcpy(k.text + 2, id, ENTRY_SESSION_BYTES);
    k.size += ENTRY_SESSION_BYTES;
    return k;
}

static struct key_text expiry_key(int64_t expiry_ms, char kind, const uint8_t *id)
{
    struct key_text k = {.text = {MACHINES_KEY_SYSTEM, 'e', (uint8_t)kind}, .size = 3};
    for (int shift = 56; shift >= 0; shift -= 8) {
        k.text[k.size++] = (uint8_t)((uint64_t)expiry_ms >> shift);
    }
    memcpy(k.text + k.size, id, ENTRY_SESSION_BYTES);
    k.size += ENTRY_SESSION_BYTES;
    return k;
}

static const struct bytes nothing;

/* The record of the session, which becomes the latest; NULL if there is none. */
static struct session_record *load_session(struct sessions *s, const uint8_t *id)
{
    if (s->has_latest && memcmp(s->latest_id, id, sizeof s->latest_id) == 0) {
        return &s->latest;
    }
    struct key_text key = record_key('s', id);
    struct bytes value;
    if (!state_get(s->state, key_bytes(&key), &value)) {
        return NULL;
    }
    struct session_record *out = &s->latest;
    struct reader r = reader_of(value);
    uint32_t fields = read_array(&r);
    out->last_ms = read_i64(&r);
    out->low = read_u64(&r);
    out->ranges_count = (fields - 2) / 2;
    ASSERT(out->ranges_count <= SESSIONS_RANGES_MAX);
    for (uint32_t i = 0; i < out->ranges_count; i++) {
        out->ranges[i].from = read_u64(&r);
        out->ranges[i].to = read_u64(&r);
    }
    ASSERT(reader_end(&r) ==
           ERR_OK); /* a state that passed its checksum; only this file writes it */
    s->has_latest = true;
    memcpy(s->latest_id, id, sizeof s->latest_id);
    return out;
}

static void put(struct sessions *s, const struct key_text *key, struct bytes value)
{
    enum err e = state_set(s->state, key_bytes(key), value);
    ASSERT(e == ERR_OK);
}

static void put_expiry(struct sessions *s, int64_t expiry_ms, char kind, const uint8_t *id)
{
    struct key_text key = expiry_key(expiry_ms, kind, id);
    put(s, &key, nothing);
    if (expiry_ms < s->quiet_until_ms) {
        s->quiet_until_ms = expiry_ms;
    }
}

static void store_session(struct sessions *s, const uint8_t *id,
                          const struct session_record *record)
{
    struct buffer value = {0};
    buffer_reserve(&value, RECORD_BYTES + record->ranges_count * (size_t)RANGE_BYTES);
    write_array(&value, 2 + 2 * record->ranges_count);
    write_i64(&value, record->last_ms);
    write_u64(&value, record->low);
    for (uint32_t i = 0; i < record->ranges_count; i++) {
        write_u64(&value, record->ranges[i].from);
        write_u64(&value, record->ranges[i].to);
    }
    struct key_text key = record_key('s', id);
    put(s, &key, buffer_bytes(&value));
    buffer_close(&value);
}

/* ---- which numbers were applied ------------------------------------------------------------- */

static bool session_has(const struct session_record *r, uint64_t seq)
{
    if (seq <= r->low) {
        return true;
    }
    for (uint32_t i = 0; i < r->ranges_count; i++) {
        if (seq >= r->ranges[i].from && seq < r->ranges[i].to) {
            return true;
        }
    }
    return false;
}

static void remove_range(struct session_record *r, uint32_t at)
{
    memmove(&r->ranges[at], &r->ranges[at + 1], (r->ranges_count - at - 1) * sizeof r->ranges[0]);
    r->ranges_count--;
}

/* Take the first range into low; numbers between become refused. */
static void close_first_gap(struct session_record *r)
{
    r->low = r->ranges[0].to - 1;
    remove_range(r, 0);
}

static void session_add(struct session_record *r, uint64_t seq)
{
    uint32_t at = 0;
    while (at < r->ranges_count && r->ranges[at].to < seq) {
        at++;
    }
    if (at < r->ranges_count && r->ranges[at].to == seq) {
        r->ranges[at].to++;
        if (at + 1 < r->ranges_count && r->ranges[at + 1].from == seq + 1) {
            r->ranges[at].to = r->ranges[at + 1].to;
            remove_range(r, at + 1);
        }
    } else if (at < r->ranges_count && r->ranges[at].from == seq + 1) {
        r->ranges[at].from = seq;
    } else {
        memmove(&r->ranges[at + 1], &r->ranges[at], (r->ranges_count - at) * sizeof r->ranges[0]);
        r->ranges[at] = (struct seq_range){.from = seq, .to = seq + 1};
        r->ranges_count++;
    }
    while (r->ranges_count > 0 && r->ranges[0].from == r->low + 1) {
        close_first_gap(r);
    }
    if (r->ranges_count > SESSIONS_RANGES_MAX) {
        close_first_gap(r);
    }
}

/* ---- users' keys ---------------------------------------------------------------------------- */

static uint64_t keys_count(const struct sessions *s)
{
    static const uint8_t name[] = {MACHINES_KEY_SYSTEM, 'n'};
    struct bytes value;
    if (!state_get(s->state, bytes_of(name, sizeof name), &value)) {
        return 0;
    }
    struct reader r = reader_of(value);
    return read_u64(&r);
}

static void set_keys_count(struct sessions *s, uint64_t count)
{
    struct buffer value = {0};
    write_u64(&value, count);
    struct key_text key = {.text = {MACHINES_KEY_SYSTEM, 'n'}, .size = 2};
    put(s, &key, buffer_bytes(&value));
    buffer_close(&value);
}

static enum session_verdict check_key(const struct sessions *s, const struct entry *e,
                                      struct outcome *outcome)
{
    struct key_text key = record_key('k', e->session);
    struct bytes value;
    if (!state_get(s->state, key_bytes(&key), &value)) {
        return SESSION_FRESH;
    }
    struct reader r = reader_of(value);
    read_array_of(&r, 4);
    read_i64(&r);
    outcome->err = (enum err)read_u32_max(&r, ERR_COUNT - 1);
    outcome->message = read_str(&r, SIZE_MAX);
    outcome->result_forgotten = reader_peek(&r) == WIRE_EXT;
    outcome->result = read_raw(&r);
    ASSERT(reader_end(&r) == ERR_OK);
    return SESSION_DUPLICATE;
}

static void record_key_outcome(struct sessions *s, const struct entry *e,
                               const struct outcome *outcome)
{
    struct buffer value = {0};
    write_array(&value, 4);
    write_i64(&value, e->time_ms);
    write_u64(&value, outcome->err);
    write_str(&value, outcome->message);
    if (outcome->result.size > SESSIONS_RESULT_BYTES_MAX) {
        /* fixext 1, type 0: told apart from anything a machine can return */
        static const uint8_t forgotten[] = {0xd4, 0, 0};
        write_raw(&value, bytes_of(forgotten, sizeof forgotten));
    } else if (outcome->result.size == 0) {
        write_nil(&value);
    } else {
        write_raw(&value, outcome->result);
    }
    struct key_text key = record_key('k', e->session);
    put(s, &key, buffer_bytes(&value));
    put_expiry(s, e->time_ms + s->ttl_ms, 'k', e->session);
    buffer_close(&value);
    uint64_t keys = keys_count(s) + 1;
    set_keys_count(s, keys);
    if (keys > SESSIONS_KEYS_MAX) {
        s->quiet_until_ms = 0; /* the oldest has to go, due or not */
    }
}

/* ---- the interface -------------------------------------------------------------------------- */

static bool has_session(const struct entry *e)
{
    static const uint8_t none[ENTRY_SESSION_BYTES];
    return memcmp(e->session, none, sizeof none) != 0;
}

enum session_verdict sessions_check(struct sessions *s, const struct entry *e,
                                    struct outcome *outcome)
{
    *outcome = (struct outcome){.err = ERR_OK};
    if (!has_session(e)) {
        return SESSION_FRESH;
    }
    if (e->seq == 0) {
        return check_key(s, e, outcome);
    }
    const struct session_record *record = load_session(s, e->session);
    if (record == NULL) {
        return SESSION_EXPIRED;
    }
    return session_has(record, e->seq) ? SESSION_DUPLICATE : SESSION_FRESH;
}

/* A session is not given a new expiry each time it is used, only once a good part of it is over. */
static void touch(struct sessions *s, const uint8_t *id, struct session_record *record,
                  int64_t time_ms)
{
    if (time_ms - record->last_ms < s->ttl_ms / 16) {
        return;
    }
    struct key_text old = expiry_key(record->last_ms + s->ttl_ms, 's', id);
    bool existed = state_delete(s->state, key_bytes(&old));
    ASSERT(existed);
    record->last_ms = time_ms;
    put_expiry(s, time_ms + s->ttl_ms, 's', id);
}

void sessions_record(struct sessions *s, const struct entry *e, const struct outcome *outcome)
{
    if (!has_session(e)) {
        return;
    }
    if (e->seq == 0) {
        record_key_outcome(s, e, outcome);
        return;
    }
    struct session_record *record = load_session(s, e->session);
    ASSERT(record != NULL); /* sessions_check() said SESSION_FRESH */
    session_add(record, e->seq);
    touch(s, e->session, record, e->time_ms);
    store_session(s, e->session, record);
}

enum err sessions_open(struct sessions *s, const struct entry *e)
{
    struct reader r = reader_of(e->payload);
    int64_t opened_ms = read_i64(&r);
    if (reader_end(&r) != ERR_OK || opened_ms < 0 || !has_session(e)) {
        return ERR_INVALID;
    }
    if (load_session(s, e->session) != NULL) {
        return ERR_OK;
    }
    /* A session lives for ttl after the later of both times. So an opening entry that is seen again
     * after its session has expired is older than ttl by its own account, and never gets in. */
    if (e->time_ms - opened_ms > s->ttl_ms / 2 || opened_ms - e->time_ms > s->ttl_ms) {
        return ERR_EXPIRED;
    }
    const struct session_record record = {.last_ms =
                                              opened_ms > e->time_ms ? opened_ms : e->time_ms};
    store_session(s, e->session, &record);
    put_expiry(s, record.last_ms + s->ttl_ms, 's', e->session);
    return ERR_OK;
}

/* The first record of this kind in order of expiry. */
static bool first_expiry(const struct sessions *s, char kind, int64_t *expiry_ms,
                         struct key_text *out)
{
    const uint8_t from[] = {MACHINES_KEY_SYSTEM, 'e', (uint8_t)kind};
    struct state_cursor c;
    if (!state_seek(&c, s->state, bytes_of(from, sizeof from)) || c.key.size != sizeof out->text ||
        memcmp(c.key.data, from, sizeof from) != 0) {
        return false;
    }
    memcpy(out->text, c.key.data, c.key.size);
    out->size = c.key.size;
    uint64_t time = 0;
    for (int i = 0; i < 8; i++) {
        time = time << 8 | out->text[3 + i];
    }
    *expiry_ms = (int64_t)time;
    return true;
}

/* Drop up to SESSIONS_EXPIRE_PER_ENTRY records that have expired, and the excess oldest even if
 * they have not. Returns how many went. */
static uint64_t expire(struct sessions *s, char kind, int64_t time_ms, uint64_t excess)
{
    uint64_t gone = 0;
    while (gone < SESSIONS_EXPIRE_PER_ENTRY) {
        int64_t expiry_ms;
        struct key_text expiry;
        if (!first_expiry(s, kind, &expiry_ms, &expiry) ||
            (expiry_ms > time_ms && gone >= excess)) {
            break;
        }
        struct key_text record = record_key(kind, expiry.text + 11);
        bool existed = state_delete(s->state, key_bytes(&record));
        ASSERT(existed);
        state_delete(s->state, key_bytes(&expiry));
        s->has_latest = false;
        gone++;
    }
    return gone;
}

/* When the first record is due; 0 if one is to go whenever it is due. */
static int64_t next_due_ms(const struct sessions *s, uint64_t keys)
{
    int64_t due_ms = INT64_MAX;
    int64_t expiry_ms;
    struct key_text key;
    if (first_expiry(s, 's', &expiry_ms, &key)) {
        due_ms = expiry_ms;
    }
    if (first_expiry(s, 'k', &expiry_ms, &key) && expiry_ms < due_ms) {
        due_ms = expiry_ms;
    }
    return keys > SESSIONS_KEYS_MAX ? 0 : due_ms;
}

void sessions_expire(struct sessions *s, int64_t time_ms)
{
    if (time_ms < s->quiet_until_ms) {
        return;
    }
    expire(s, 's', time_ms, 0);
    uint64_t keys = keys_count(s);
    if (keys > 0) {
        uint64_t excess = keys > SESSIONS_KEYS_MAX ? keys - SESSIONS_KEYS_MAX : 0;
        uint64_t gone = expire(s, 'k', time_ms, excess);
        if (gone > 0) {
            keys -= gone;
            set_keys_count(s, keys);
        }
    }
    s->quiet_until_ms = next_due_ms(s, keys);
}

void sessions_replaced(struct sessions *s)
{
    s->has_latest = false;
    s->quiet_until_ms = 0;
}
