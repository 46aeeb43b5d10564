/* Raft messages between peers. */
#include "check.h"

#include "base/rng.h"
#include "wire/entry.h"
#include "wire/raft_codec.h"
#include "wire/writer.h"

enum { ENTRIES = 5, CHUNK_BYTES = 300 };

static struct buffer bodies[ENTRIES];
static struct wire_entry entries[ENTRIES];
static uint8_t chunk[CHUNK_BYTES];

/* Entry 2 and 4 are configurations. */
static int build(void **state)
{
    (void)state;
    struct membership m = {.count = 1, .at[0] = {.id = 7, .name = "n7", .voter = true}};
    struct buffer config = {0};
    membership_encode(&m, &config);
    for (unsigned i = 0; i < ENTRIES; i++) {
        bool is_config = i == 2 || i == 4;
        struct entry e = {.kind = is_config ? ENTRY_CONFIG : ENTRY_COMMAND,
                          .machine = bytes_of_string("kv"),
                          .seq = i,
                          .payload = is_config ? buffer_bytes(&config) : bytes_of(chunk, 100)};
        entry_encode(&e, &bodies[i]);
        entries[i] = (struct wire_entry){.term = 3 + i, .body = buffer_bytes(&bodies[i])};
    }
    buffer_close(&config);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ENTRIES; i++) {
        buffer_close(&bodies[i]);
    }
    return 0;
}

static uint64_t any(struct rng *rng)
{
    return rng_next(rng) >> rng_range(rng, 0, 64);
}

static struct raft_pos any_pos(struct rng *rng)
{
    return (struct raft_pos){.index = any(rng), .term = any(rng)};
}

static struct raft_message any_message(struct rng *rng, enum raft_message_type type)
{
    struct raft_message m = {.type = type, .from = any(rng), .to = any(rng), .term = any(rng)};
    switch (type) {
    case RAFT_MESSAGE_APPEND:
        m.append = (struct raft_append){.prev = any_pos(rng),
                                        .commit_index = any(rng),
                                        .count = (uint32_t)rng_range(rng, 0, ENTRIES + 1),
                                        .lease_us = any(rng),
                                        .round = any(rng),
                                        .sent_us = any(rng)};
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        m.append_reply = (struct raft_append_reply){.rejected = rng_chance(rng, 0.5),
                                                    .match = any(rng),
                                                    .hint_term = any(rng),
                                                    .prev_index = any(rng),
                                                    .round = any(rng),
                                                    .sent_us = any(rng)};
        break;
    case RAFT_MESSAGE_VOTE:
        m.vote = (struct raft_vote){.last = any_pos(rng),
                                    .prevote = rng_chance(rng, 0.5),
                                    .transfer = rng_chance(rng, 0.5),
                                    .transfer_from = any(rng)};
        if (rng_chance(rng, 0.5)) {
            m.vote.certificate.dead = 1 + any(rng) / 2;
            memset(m.vote.certificate.revealed, 0x11, 16);
            memset(m.vote.certificate.incarnation.hash, 0x22, 32);
        }
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        m.vote_reply.granted = rng_chance(rng, 0.5);
        m.vote_reply.prevote = rng_chance(rng, 0.5);
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        m.timeout_now.last = any_pos(rng);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT:
        m.install_snapshot =
            (struct raft_install_snapshot){.last = any_pos(rng),
                                           .offset_bytes = any(rng),
                                           .size_bytes = (uint32_t)rng_range(rng, 0, CHUNK_BYTES),
                                           .done = rng_chance(rng, 0.5),
                                           .lease_us = any(rng),
                                           .round = any(rng),
                                           .sent_us = any(rng)};
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        m.install_snapshot_reply =
            (struct raft_install_snapshot_reply){.last = any_pos(rng),
                                                 .offset_bytes = any(rng),
                                                 .installed = rng_chance(rng, 0.5),
                                                 .round = any(rng),
                                                 .sent_us = any(rng)};
        break;
    case RAFT_MESSAGE_COUNT:
        break;
    }
    return m;
}

static void encode(const struct raft_message *m, struct buffer *out)
{
    bool has_chunk = m->type == RAFT_MESSAGE_INSTALL_SNAPSHOT;
    raft_message_encode(m, m->type == RAFT_MESSAGE_APPEND ? entries : NULL,
                        bytes_of(chunk, has_chunk ? m->install_snapshot.size_bytes : 0), out);
}

static enum err decode(struct bytes input)
{
    struct raft_decoded d = {0};
    struct slice frame = slice_copy(input);
    enum err e = raft_message_decode(frame, &d);
    slice_close(&frame);
    if (e != ERR_OK) {
        assert_null(d.frame.owner); /* nothing is held after an error */
        assert_int_equal(d.configs_count, 0);
    }
    raft_decoded_close(&d);
    return e;
}

static void every_message_comes_back_as_it_was(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    struct raft_decoded d = {0};
    for (unsigned i = 0; i < 7000; i++) {
        struct raft_message m = any_message(&rng, (enum raft_message_type)(i % RAFT_MESSAGE_COUNT));
        struct buffer b = {0};
        encode(&m, &b);
        assert_int_equal(peer_frame_of(buffer_bytes(&b)), PEER_FRAME_RAFT);
        struct slice frame = slice_copy(buffer_bytes(&b));
        assert_int_equal(raft_message_decode(frame, &d), ERR_OK);
        slice_close(&frame);
        /* Encoded again it is the same, so no field was lost; the entries are compared below. */
        struct buffer again = {0};
        encode(&d.message, &again);
        assert_bytes(buffer_bytes(&again), buffer_bytes(&b));
        assert_int_equal(d.message.type, m.type);
        assert_true(d.message.from == m.from);
        assert_true(d.message.term == m.term);
        buffer_close(&again);
        buffer_close(&b);
    }
    raft_decoded_close(&d);
}

static void an_append_brings_bodies_metas_and_configurations(void **state)
{
    (void)state;
    struct raft_message m = {.type = RAFT_MESSAGE_APPEND, .from = 1, .to = 2, .term = 9};
    m.append.count = ENTRIES;
    struct buffer b = {0};
    encode(&m, &b);
    struct slice frame = slice_copy(buffer_bytes(&b));
    struct raft_decoded d = {0};
    assert_int_equal(raft_message_decode(frame, &d), ERR_OK);
    assert_int_equal(d.message.append.count, ENTRIES);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        assert_true(d.message.append.entries[i].term == 3 + i);
        assert_int_equal(d.message.append.entries[i].size_bytes, entries[i].body.size);
        assert_int_equal(d.message.append.entries[i].is_config, i == 2 || i == 4);
        assert_bytes(d.bodies[i], entries[i].body);
    }
    assert_int_equal(d.configs_count, 2);
    assert_true(d.configs[1].at[0].id == 7);

    /* A body outlives the message and the frame, and is not a copy. */
    struct slice body = raft_decoded_body(&d, 3);
    assert_int_equal(frame.owner->references, 3); /* the test's, the message's, the body's */
    assert_true(body.data > frame.data && body.data < frame.data + frame.size);
    raft_decoded_close(&d);
    slice_close(&frame);
    assert_bytes(slice_bytes(body), entries[3].body);
    slice_close(&body);
    buffer_close(&b);
}

static void only_a_whole_message_is_one(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 11);
    for (unsigned type = 0; type < RAFT_MESSAGE_COUNT; type++) {
        struct raft_message m = any_message(&rng, (enum raft_message_type)type);
        if (m.type == RAFT_MESSAGE_APPEND) {
            m.append.count = ENTRIES;
        }
        struct buffer b = {0};
        encode(&m, &b);
        assert_whole_only(buffer_bytes(&b), decode);
        assert_survives_any_byte(buffer_bytes(&b), decode);
        buffer_close(&b);
    }
}

static void the_overhead_is_an_upper_bound(void **state)
{
    (void)state;
    struct raft_message m = {
        .type = RAFT_MESSAGE_VOTE, .from = UINT64_MAX, .to = UINT64_MAX, .term = UINT64_MAX};
    m.vote.last = (struct raft_pos){UINT64_MAX, UINT64_MAX};
    m.vote.transfer_from = UINT64_MAX;
    m.vote.certificate.dead = UINT64_MAX;
    struct buffer b = {0};
    encode(&m, &b);
    assert_true(b.size <= raft_message_overhead_bytes(&m));
    buffer_close(&b);
}

/* ["an append", ..., entries] up to its entries. */
static void write_append_head(struct buffer *b)
{
    write_array(b, 11);
    write_u64(b, RAFT_WIRE_TYPE_BASE + RAFT_MESSAGE_APPEND);
    for (unsigned i = 0; i < 9; i++) {
        write_u64(b, 1);
    }
}

static void hostile_appends_are_refused_without_taking_memory(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_append_head(&b);
    write_array(&b, UINT32_MAX); /* entries that do not follow */
    assert_int_equal(decode(buffer_bytes(&b)), ERR_TRUNCATED);

    buffer_clear(&b);
    write_append_head(&b);
    write_array(&b, 1); /* a term without a body */
    write_u64(&b, 1);
    assert_int_equal(decode(buffer_bytes(&b)), ERR_INVALID);

    buffer_clear(&b);
    write_append_head(&b);
    write_array(&b, 2); /* a body that is no entry */
    write_u64(&b, 1);
    write_bin(&b, bytes_of_string("not an entry"));
    assert_int_equal(decode(buffer_bytes(&b)), ERR_INVALID);

    buffer_clear(&b);
    write_append_head(&b);
    write_array(&b, 2 * (RAFT_WIRE_ENTRIES_MAX + 1)); /* more than any message may have */
    for (unsigned i = 0; i < 2 * (RAFT_WIRE_ENTRIES_MAX + 1); i++) {
        write_u64(&b, 1);
    }
    assert_int_equal(decode(buffer_bytes(&b)), ERR_INVALID);

    struct entry e = {.kind = ENTRY_CONFIG, .payload = bytes_of_string("no membership")};
    struct buffer body = {0};
    entry_encode(&e, &body);
    buffer_clear(&b);
    write_append_head(&b);
    write_array(&b, 2); /* a configuration that is none */
    write_u64(&b, 1);
    write_bin(&b, buffer_bytes(&body));
    assert_int_equal(decode(buffer_bytes(&b)), ERR_INVALID);
    buffer_close(&body);
    buffer_close(&b);
}

static void frames_between_peers_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(peer_frame_of(bytes_of("\x94\x00", 2)), PEER_FRAME_RPC);
    assert_int_equal(peer_frame_of(bytes_of("\x93\x02", 2)), PEER_FRAME_RPC);
    assert_int_equal(peer_frame_of(bytes_of("\x93\x03", 2)), PEER_FRAME_UNKNOWN);
    assert_int_equal(peer_frame_of(bytes_of("\x93\x17", 2)), PEER_FRAME_UNKNOWN);
    assert_int_equal(peer_frame_of(bytes_of("G", 1)), PEER_FRAME_UNKNOWN);
    assert_int_equal(peer_frame_of(bytes_of("GE", 2)), PEER_FRAME_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_back_as_it_was),
        cmocka_unit_test(an_append_brings_bodies_metas_and_configurations),
        cmocka_unit_test(only_a_whole_message_is_one),
        cmocka_unit_test(the_overhead_is_an_upper_bound),
        cmocka_unit_test(hostile_appends_are_refused_without_taking_memory),
        cmocka_unit_test(frames_between_peers_are_told_apart),
    };
    return cmocka_run_group_tests(tests, build, drop);
}
