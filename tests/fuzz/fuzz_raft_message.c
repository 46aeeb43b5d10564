/* Raft messages: whatever decodes has its entries within the frame and encodes to the same message.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/entry.h"
#include "wire/raft_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(const struct raft_decoded *d, struct bytes view)
{
    ASSERT(view.data >= d->frame.data);
    ASSERT(view.data + view.size <= d->frame.data + d->frame.size);
}

static void check(const struct raft_decoded *d)
{
    const struct raft_message *m = &d->message;
    uint32_t count = m->type == RAFT_MESSAGE_APPEND ? m->append.count : 0;
    struct wire_entry *entries = alloc_zeroed(count + 1, sizeof *entries);
    uint32_t configs = 0;
    for (uint32_t i = 0; i < count; i++) {
        check_within(d, d->bodies[i]);
        ASSERT(d->metas[i].size_bytes == d->bodies[i].size);
        configs += d->metas[i].is_config;
        entries[i] = (struct wire_entry){.term = d->metas[i].term, .body = d->bodies[i]};
        struct slice body = raft_decoded_body(d, i);
        slice_close(&body);
    }
    ASSERT(configs == d->configs_count);

    struct buffer encoded = {0};
    raft_message_encode(m, entries, d->chunk, &encoded);
    struct slice frame = slice_copy(buffer_bytes(&encoded));
    struct raft_decoded back = {0};
    ASSERT(raft_message_decode(frame, &back) == ERR_OK);
    ASSERT(back.message.type == m->type);
    ASSERT(back.message.term == m->term);
    ASSERT(back.configs_count == configs);
    struct buffer again = {0};
    raft_message_encode(&back.message, entries, back.chunk, &again);
    ASSERT(bytes_equal(buffer_bytes(&again), buffer_bytes(&encoded)));
    buffer_close(&again);
    buffer_close(&encoded);
    raft_decoded_close(&back);
    slice_close(&frame);
    free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice frame = slice_copy(bytes_of(data, size));
    struct raft_decoded d = {0};
    if (raft_message_decode(frame, &d) == ERR_OK) {
        ASSERT(peer_frame_of(bytes_of(data, size)) != PEER_FRAME_RPC);
        check(&d);
    }
    raft_decoded_close(&d);
    slice_close(&frame);
    return 0;
}
