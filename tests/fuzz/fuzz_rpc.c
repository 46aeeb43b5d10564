/* MessagePack-RPC: a stream of messages, scanned at once and byte by byte with the same outcome;
 * what the scan finds whole either decodes or is refused. The first byte of the input chooses
 * limits. */
#include <stdint.h>

#include "base/assert.h"
#include "wire/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(struct bytes message)
{
    struct rpc_message m, back;
    if (rpc_decode(message, &m) != ERR_OK) {
        return;
    }
    struct buffer b = {0};
    if (m.type == RPC_REQUEST) {
        rpc_write_request(&b, m.msgid, m.method, m.params);
    } else if (m.type == RPC_NOTIFY) {
        rpc_write_notify(&b, m.method, m.params);
    } else {
        struct rpc_error error;
        if (!rpc_is_nil(m.error) && rpc_error_decode(m.error, &error) == ERR_OK) {
            rpc_write_error(&b, m.msgid, &error);
        } else {
            rpc_write_result(&b, m.msgid, m.result);
        }
    }
    ASSERT(rpc_decode(buffer_bytes(&b), &back) == ERR_OK);
    ASSERT(back.type == m.type);
    ASSERT(back.msgid == m.msgid);
    ASSERT(bytes_equal(back.method, m.method));
    ASSERT(bytes_equal(back.params, m.params));
    buffer_close(&b);
}

/* The outcome of a scan whose input grows byte by byte. */
static enum err scan_slowly(struct bytes input, size_t max_bytes, uint32_t max_depth, size_t *size)
{
    struct rpc_scan s = {0};
    enum err e = ERR_TRUNCATED;
    for (size_t have = 0; have <= input.size && e == ERR_TRUNCATED; have++) {
        e = rpc_scan(&s, bytes_of(input.data, have), max_bytes, max_depth, size);
    }
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t max_bytes = (size_t)1 << (data[0] & 15);
    uint32_t max_depth = 1 + (uint32_t)(data[0] >> 4) * 2;
    struct bytes rest = bytes_of(data + 1, size - 1);
    struct rpc_scan s = {0};
    for (;;) {
        size_t found = 0, slowly = 0;
        enum err e = rpc_scan(&s, rest, max_bytes, max_depth, &found);
        ASSERT(e == scan_slowly(rest, max_bytes, max_depth, &slowly));
        if (e != ERR_OK) {
            break;
        }
        ASSERT(found == slowly);
        ASSERT(found > 0);
        ASSERT(found <= rest.size);
        ASSERT(found <= max_bytes);
        check_message(bytes_of(rest.data, found));
        rest = bytes_of(rest.data + found, rest.size - found);
    }
    return 0;
}
