/* Frames over a socket pair. */
#include "check.h"

#include <fcntl.h>

#include "net/frames.h"

enum { FRAME_MAX = 1 << 20 };

static uint8_t scratch[FRAME_SCRATCH_BYTES];

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

struct taken {
    unsigned count;
    size_t sizes[64];
    size_t bytes;
    uint32_t sum;
    unsigned stop_after; /* 0: never */
};

static uint32_t sum_of(const uint8_t *data, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum = sum * 31 + data[i];
    }
    return sum;
}

static bool take(void *ctx, struct slice frame)
{
    struct taken *t = ctx;
    t->sizes[t->count++ % 64] = frame.size;
    t->bytes += frame.size;
    t->sum += sum_of(frame.data, frame.size);
    return t->stop_after == 0 || t->count < t->stop_after;
}

static void push(struct frame_queue *q, size_t size, uint8_t seed, uint32_t *sum)
{
    struct blob *b = blob_new(size);
    for (size_t i = 0; i < size; i++) {
        b->data[i] = (uint8_t)(seed + i * 7);
    }
    *sum += sum_of(b->data, size);
    struct slice s = slice_of_take(b);
    frame_queue_push(q, s);
    slice_close(&s);
}

static void frames_of_all_sizes_arrive_whole_and_in_order(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2,     100,    65531,  65532, 65533, 65536,
                                   1, 70000, 200000, 131072, 3,     4,     FRAME_MAX,
                                   5, 0,     1,      500000, 0,     7};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    int fds[2];
    make_pair(fds);
    struct frame_queue q = {0};
    struct frame_reader r = {0};
    struct taken t = {0};
    uint32_t sum = 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        push(&q, sizes[i], (uint8_t)i, &sum);
        bytes += sizes[i];
    }
    assert_int_equal(q.bytes, bytes + COUNT * FRAME_HEAD_BYTES);
    while (t.count < COUNT) { /* the socket takes a part at a time */
        enum err e = frame_queue_write(&q, fds[0]);
        assert_true(e == ERR_OK || e == ERR_BUSY);
        assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_OK);
    }
    assert_int_equal(q.bytes, 0);
    assert_int_equal(q.count, 0);
    assert_memory_equal(t.sizes, sizes, sizeof sizes);
    assert_int_equal(t.sum, sum);
    assert_null(r.blob); /* no memory between frames */
    frame_queue_close(&q);
    frame_reader_close(&r);
    close(fds[0]);
    close(fds[1]);
}

static void frames_arrive_byte_by_byte(void **state)
{
    (void)state;
    int fds[2];
    make_pair(fds);
    static const uint8_t stream[] = {0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 1, 'c'};
    struct frame_reader r = {0};
    struct taken t = {0};
    for (size_t i = 0; i < sizeof stream; i++) {
        send_raw(fds[0], stream + i, 1);
        assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_OK);
    }
    assert_int_equal(t.count, 3);
    assert_int_equal(t.sizes[0], 2);
    assert_int_equal(t.sizes[1], 0);
    assert_int_equal(t.sizes[2], 1);
    frame_reader_close(&r);
    close(fds[0]);
    close(fds[1]);
}

static void an_oversized_frame_is_refused_from_its_head(void **state)
{
    (void)state;
    int fds[2];
    make_pair(fds);
    struct frame_reader r = {0};
    struct taken t = {0};
    send_raw(fds[0], "\xff\xff\xff\xff", 4);
    assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_TOO_LARGE);
    assert_null(r.blob);
    assert_int_equal(t.count, 0);
    frame_reader_close(&r);

    r = (struct frame_reader){0};
    send_raw(fds[0], "\x00\x10\x00\x00", 4); /* exactly the limit */
    assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_OK);
    frame_reader_close(&r);
    r = (struct frame_reader){0};
    send_raw(fds[0], "\x00\x10\x00\x01", 4);
    assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_TOO_LARGE);
    frame_reader_close(&r);
    close(fds[0]);
    close(fds[1]);
}

static void an_end_in_the_middle_is_an_end(void **state)
{
    (void)state;
    int fds[2];
    make_pair(fds);
    struct frame_reader r = {0};
    struct taken t = {0};
    send_raw(fds[0], "\0\0\0\x09half", 8);
    close(fds[0]);
    assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_OK);
    assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_UNREACHABLE);
    assert_int_equal(t.count, 0);
    frame_reader_close(&r);
    close(fds[1]);
}

static void a_taker_can_stop_the_reading(void **state)
{
    (void)state;
    int fds[2];
    make_pair(fds);
    struct frame_reader r = {0};
    struct taken t = {.stop_after = 2};
    send_raw(fds[0], "\0\0\0\1a\0\0\0\1b\0\0\0\1c", 15);
    assert_int_equal(frame_reader_read(&r, fds[1], scratch, FRAME_MAX, take, &t), ERR_CANCELLED);
    assert_int_equal(t.count, 2);
    frame_reader_close(&r);
    close(fds[0]);
    close(fds[1]);
}

static void a_queue_holds_frames_by_reference_and_lets_them_go(void **state)
{
    (void)state;
    struct blob *b = blob_new(100);
    memset(b->data, 1, 100);
    struct frame_queue q = {0};
    for (unsigned i = 0; i < 100; i++) {
        struct slice s = slice_of(b, i, 100 - i);
        frame_queue_push(&q, s);
        slice_close(&s);
    }
    assert_int_equal(b->references, 101);
    frame_queue_close(&q);
    assert_int_equal(b->references, 1);
    blob_unref(b);
}

static void writing_to_a_closed_stream_is_an_error(void **state)
{
    (void)state;
    int fds[2];
    make_pair(fds);
    close(fds[1]);
    struct frame_queue q = {0};
    uint32_t sum = 0;
    push(&q, 10, 1, &sum);
    assert_int_equal(frame_queue_write(&q, fds[0]), ERR_UNREACHABLE);
    frame_queue_close(&q);
    close(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_all_sizes_arrive_whole_and_in_order),
        cmocka_unit_test(frames_arrive_byte_by_byte),
        cmocka_unit_test(an_oversized_frame_is_refused_from_its_head),
        cmocka_unit_test(an_end_in_the_middle_is_an_end),
        cmocka_unit_test(a_taker_can_stop_the_reading),
        cmocka_unit_test(a_queue_holds_frames_by_reference_and_lets_them_go),
        cmocka_unit_test(writing_to_a_closed_stream_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
