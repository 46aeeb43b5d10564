/* What a stranger may say first, and what we accept as an answer. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "wire/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct handshake *a, const struct handshake *b)
{
    ASSERT(a->role == b->role);
    ASSERT(a->cluster_id == b->cluster_id);
    ASSERT(a->node_id == b->node_id);
    ASSERT(strcmp(a->cluster, b->cluster) == 0);
    ASSERT(strcmp(a->node, b->node) == 0);
    ASSERT(memcmp(a->storage_uuid, b->storage_uuid, sizeof a->storage_uuid) == 0);
}

static void check_hello(struct bytes input)
{
    struct handshake h, back;
    if (handshake_decode(input, &h) == ERR_OK) {
        ASSERT(h.node_id != 0);
        struct buffer b = {0};
        handshake_encode(&h, &b);
        ASSERT(b.size <= HANDSHAKE_BYTES_MAX);
        ASSERT(handshake_decode(buffer_bytes(&b), &back) == ERR_OK);
        check_same(&h, &back);
        buffer_close(&b);
    }
}

static void check_answer(struct bytes input)
{
    struct handshake_answer a, back;
    if (handshake_answer_decode(input, &a) == ERR_OK) {
        struct buffer b = {0};
        handshake_answer_encode(&a, &b);
        ASSERT(b.size <= HANDSHAKE_BYTES_MAX);
        ASSERT(handshake_answer_decode(buffer_bytes(&b), &back) == ERR_OK);
        ASSERT(a.verdict == back.verdict);
        ASSERT(strcmp(a.sentence, back.sentence) == 0);
        check_same(&a.self, &back.self);
        buffer_close(&b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_hello(bytes_of(data, size));
    check_answer(bytes_of(data, size));
    return 0;
}
