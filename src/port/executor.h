/* The disk thread: runs jobs one at a time, in the order of submission.
 *
 * run() is called on the disk thread and may block; done() is called afterwards on the thread that
 * submitted, from its event loop, never from inside executor_submit(). In simulation both run on
 * the one thread, apart in simulated time, and a crash may fall between them or in the middle of
 * run()'s writes. The job's memory belongs to the submitter; it must stay until done() is called.
 */
#ifndef MK_PORT_EXECUTOR_H
#define MK_PORT_EXECUTOR_H

struct executor_job {
    void (*run)(struct executor_job *job);
    void (*done)(struct executor_job *job);
    struct executor_job *next; /* the executor's */
};

struct executor_port {
    void *ctx;
    void (*submit)(void *ctx, struct executor_job *job);
};

static inline void executor_submit(const struct executor_port *e, struct executor_job *job)
{
    e->submit(e->ctx, job);
}

#endif
