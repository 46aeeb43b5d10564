/* Programs of which every one starts, writes nothing, and has ended well. */
#ifndef MK_TESTS_FAKE_PROCESSES_H
#define MK_TESTS_FAKE_PROCESSES_H

#include "host_fixture.h"

static inline void fake_start(void *ctx, uint64_t call, uint64_t process,
                              const struct process_spec *spec)
{
    (void)spec;
    reply_u64(ctx, call, 1000 + process);
}
static inline void fake_read(void *ctx, uint64_t call, uint64_t process, struct process_read what)
{
    (void)process, (void)what;
    script_host_reply(((struct fixture *)ctx)->host, call, ERR_OK, NULL, (struct slice){0});
}
static inline void fake_write(void *ctx, uint64_t call, uint64_t process, struct bytes data)
{
    (void)process, (void)data;
    script_host_reply(((struct fixture *)ctx)->host, call, ERR_OK, NULL, (struct slice){0});
}
static inline void fake_wait(void *ctx, uint64_t call, uint64_t process)
{
    (void)process;
    reply_u64(ctx, call, 0);
}
static inline void fake_signal(void *ctx, uint64_t process, int number)
{
    (void)ctx, (void)process, (void)number;
}
static inline void fake_one(void *ctx, uint64_t process)
{
    (void)ctx, (void)process;
}
static inline void fake_release(void *ctx, uint64_t call, uint64_t process)
{
    (void)process;
    if (call != 0) {
        script_host_reply(((struct fixture *)ctx)->host, call, ERR_OK, NULL, (struct slice){0});
    }
}
static inline void fake_hold(void *ctx, uint64_t process, uint64_t until_us)
{
    (void)ctx, (void)process, (void)until_us;
}
static inline void fake_lease(void *ctx, uint64_t token, uint64_t until_us)
{
    (void)ctx, (void)token, (void)until_us;
}

/* A port of the fixture. */
static inline struct process_port fake_processes(struct fixture *f)
{
    return (struct process_port){.ctx = f,
                                 .start = fake_start,
                                 .read = fake_read,
                                 .write = fake_write,
                                 .wait = fake_wait,
                                 .close_input = fake_one,
                                 .close_output = fake_one,
                                 .signal = fake_signal,
                                 .release = fake_release,
                                 .hold = fake_hold,
                                 .lease = fake_lease};
}

#endif
