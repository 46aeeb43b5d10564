/* What the codecs cost: entries, appends, votes, requests. Prints one line each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wire/entry.h"
#include "wire/raft_codec.h"
#include "wire/rpc.h"

enum { ENTRIES = 100, PAYLOAD_BYTES = 256 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct subject {
    struct entry entry;
    struct buffer body;
    struct wire_entry entries[ENTRIES];
    struct raft_message append;
    struct raft_message reply;
    struct slice append_frame;
    struct slice reply_frame;
    struct buffer request;
    struct buffer out;
    struct raft_decoded decoded;
    uint64_t sink;
};

static void encode_entry(struct subject *s)
{
    buffer_clear(&s->out);
    entry_encode(&s->entry, &s->out);
    s->sink += s->out.size;
}

static void decode_entry(struct subject *s)
{
    struct entry e;
    s->sink += (uint64_t)entry_decode(buffer_bytes(&s->body), &e) + e.seq;
}

static void encode_append(struct subject *s)
{
    buffer_clear(&s->out);
    raft_message_encode(&s->append, s->entries, (struct bytes){0}, &s->out);
    s->sink += s->out.size;
}

static void copy_append(struct subject *s)
{
    buffer_clear(&s->out);
    buffer_add(&s->out, s->append_frame.data, s->append_frame.size);
    s->sink += s->out.data[s->out.size - 1];
}

static void decode_append(struct subject *s)
{
    s->sink += (uint64_t)raft_message_decode(s->append_frame, &s->decoded);
}

static void encode_reply(struct subject *s)
{
    buffer_clear(&s->out);
    raft_message_encode(&s->reply, NULL, (struct bytes){0}, &s->out);
    s->sink += s->out.size;
}

static void decode_reply(struct subject *s)
{
    s->sink += (uint64_t)raft_message_decode(s->reply_frame, &s->decoded);
}

static void decode_request(struct subject *s)
{
    struct rpc_scan scan = {0};
    struct rpc_message m;
    size_t size;
    s->sink += (uint64_t)rpc_scan(&scan, buffer_bytes(&s->request), 1 << 20, 32, &size);
    s->sink += (uint64_t)rpc_decode(bytes_of(s->request.data, size), &m) + m.msgid;
}

static void encode_result(struct subject *s)
{
    buffer_clear(&s->out);
    rpc_write_result(&s->out, 123456, bytes_of("\xcd\x12\x34", 3));
    s->sink += s->out.size;
}

/* The best of several runs: what it costs when nothing is in the way. */
static void measure(const char *name, struct subject *s, void (*run)(struct subject *), int repeat)
{
    double best = 1e18;
    for (int round = 0; round < 7; round++) {
        double start = now_ns();
        for (int i = 0; i < repeat; i++) {
            run(s);
        }
        double took = (now_ns() - start) / repeat;
        best = took < best ? took : best;
    }
    printf("%-44s %9.1f ns\n", name, best);
}

static struct slice frame_of(const struct raft_message *m, const struct wire_entry *entries)
{
    struct buffer b = {0};
    raft_message_encode(m, entries, (struct bytes){0}, &b);
    struct slice frame = slice_copy(buffer_bytes(&b));
    buffer_close(&b);
    return frame;
}

static void prepare(struct subject *s)
{
    static uint8_t payload[PAYLOAD_BYTES];
    s->entry = (struct entry){.kind = ENTRY_COMMAND,
                              .machine = bytes_of_string("kv"),
                              .seq = 123456,
                              .time_ms = 1700000000123,
                              .payload = bytes_of(payload, sizeof payload)};
    memset(s->entry.session, 0xab, sizeof s->entry.session);
    entry_encode(&s->entry, &s->body);
    for (int i = 0; i < ENTRIES; i++) {
        s->entries[i] = (struct wire_entry){.term = 7, .body = buffer_bytes(&s->body)};
    }
    s->append = (struct raft_message){
        .type = RAFT_MESSAGE_APPEND, .from = UINT64_MAX / 3, .to = UINT64_MAX / 5, .term = 7};
    s->append.append = (struct raft_append){.prev = {123456, 7},
                                            .commit_index = 123400,
                                            .count = ENTRIES,
                                            .lease_us = 150000,
                                            .round = 99999,
                                            .sent_us = 123456789012};
    s->reply = (struct raft_message){
        .type = RAFT_MESSAGE_APPEND_REPLY, .from = UINT64_MAX / 3, .to = UINT64_MAX / 5, .term = 7};
    s->reply.append_reply.match = 123456;
    s->append_frame = frame_of(&s->append, s->entries);
    s->reply_frame = frame_of(&s->reply, NULL);
    struct buffer params = {0};
    buffer_add(&params, "\x92\xa5hello\xc5\x01\x00", 10);
    buffer_add(&params, payload, sizeof payload);
    rpc_write_request(&s->request, 123456, bytes_of_string("propose"), buffer_bytes(&params));
    buffer_close(&params);
}

int main(void)
{
    static struct subject s;
    prepare(&s);
    measure("entry of 256 bytes, encode", &s, encode_entry, 200000);
    measure("entry of 256 bytes, decode", &s, decode_entry, 200000);
    measure("append of 100 such entries, encode", &s, encode_append, 5000);
    measure("append of 100 such entries, memcpy", &s, copy_append, 5000);
    measure("append of 100 such entries, decode and check", &s, decode_append, 5000);
    measure("append reply, encode", &s, encode_reply, 200000);
    measure("append reply, decode", &s, decode_reply, 200000);
    measure("request of 256 bytes, scan and decode", &s, decode_request, 200000);
    measure("result, encode", &s, encode_result, 200000);
    printf("(%llu)\n", (unsigned long long)s.sink);
    buffer_close(&s.body);
    buffer_close(&s.out);
    buffer_close(&s.request);
    slice_close(&s.append_frame);
    slice_close(&s.reply_frame);
    raft_decoded_close(&s.decoded);
    return 0;
}
