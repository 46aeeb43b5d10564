/* The node's half of commit hooks: a log that is fed as the host asks for it. */
#ifndef MK_TESTS_COMMIT_FEEDER_H
#define MK_TESTS_COMMIT_FEEDER_H

#include "host_fixture.h"
#include "wire/entry.h"

/* A node with a log of `count` committed commands, feeding as it is asked to. */
struct feeder {
    uint64_t count;
    uint64_t next; /* 0: not feeding */
    uint64_t feed;
    uint64_t resumes;
    uint64_t rewinds;
    uint64_t fed;
    bool stalled;
};

static inline void on_request(struct fixture *f, struct script_request *request)
{
    struct feeder *node = f->ctx;
    if (strcmp(request->method, "commit_resume") != 0) {
        return;
    }
    struct reader r = reader_of(slice_bytes(request->params));
    read_array_of(&r, 2);
    uint64_t from = read_u64(&r);
    node->feed = read_u64(&r);
    assert_int_equal(reader_end(&r), ERR_OK);
    assert_true(from > 0);
    node->resumes++;
    node->rewinds += from < node->next;
    node->next = from;
    node->stalled = false;
}

static inline bool feed_one(struct fixture *f, uint64_t index)
{
    struct feeder *node = f->ctx;
    struct buffer body = {0};
    struct buffer payload = {0};
    write_array(&payload, 2);
    write_text(&payload, "add");
    write_u64(&payload, index * 10);
    entry_encode(&(struct entry){.kind = ENTRY_COMMAND,
                                 .machine = bytes_of_string("m"),
                                 .time_ms = (int64_t)index,
                                 .payload = buffer_bytes(&payload)},
                 &body);
    struct script_commit commit = {
        .index = index, .term = 2, .feed = node->feed, .entry = slice_copy(buffer_bytes(&body))};
    bool taken = script_host_commit(f->host, &commit);
    slice_close(&commit.entry);
    buffer_close(&body);
    buffer_close(&payload);
    return taken;
}

static inline void feed_some(struct fixture *f, int most)
{
    struct feeder *node = f->ctx;
    while (node->next != 0 && !node->stalled && node->next <= node->count && most-- > 0) {
        if (feed_one(f, node->next)) {
            node->next++;
            node->fed++;
        } else {
            node->stalled = true;
        }
    }
}

static inline void open_with_feeder(struct fixture *f, struct feeder *node, uint32_t commits_max)
{
    fixture_init(f);
    f->answer = on_request;
    f->ctx = node;
    struct script_options options = fixture_options(f);
    options.limits.commits_max = commits_max;
    options.ctx = f;
    f->host = script_host_new(&options);
}

#endif
