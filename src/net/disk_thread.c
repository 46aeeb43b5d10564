#include "net/disk_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/queue.h"

struct disk_thread {
    struct executor_port port;
    pthread_t thread;
    struct queue todo; /* struct executor_job */
    struct queue done;
    uint64_t under_way; /* submitted and not yet done; the submitting thread's */
};

static void *work(void *arg)
{
    struct disk_thread *disk = arg;
    struct executor_job *job;
    while ((job = queue_wait(&disk->todo)) != NULL) {
        job->run(job);
        bool pushed = queue_push(&disk->done, job);
        ASSERT(pushed);
    }
    return NULL;
}

static void submit(void *ctx, struct executor_job *job)
{
    struct disk_thread *disk = ctx;
    ASSERT(job->run != NULL);
    ASSERT(job->done != NULL);
    disk->under_way++;
    bool pushed = queue_push(&disk->todo, job);
    ASSERT(pushed);
}

/* Signals are the loop's: none is to interrupt a write. */
static int start_without_signals(struct disk_thread *disk)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&disk->thread, NULL, work, disk);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

static void disk_thread_free(struct disk_thread *disk)
{
    queue_close(&disk->todo);
    queue_close(&disk->done);
    free(disk);
}

enum err disk_thread_start(void (*wake)(void *ctx), void *wake_ctx, struct disk_thread **out)
{
    struct disk_thread *disk = NEW(struct disk_thread);
    disk->port = (struct executor_port){.ctx = disk, .submit = submit};
    /* Jobs belong to those who submit them, who have few each: there is nothing to limit. */
    queue_init(&disk->todo, SIZE_MAX, NULL, NULL);
    queue_init(&disk->done, SIZE_MAX, wake, wake_ctx);
    int result = start_without_signals(disk);
    if (result != 0) {
        disk_thread_free(disk);
        return err_from_errno(result);
    }
    *out = disk;
    return ERR_OK;
}

const struct executor_port *disk_thread_port(struct disk_thread *disk)
{
    return &disk->port;
}

static void finish(struct disk_thread *disk, struct executor_job *job)
{
    ASSERT(disk->under_way > 0);
    disk->under_way--;
    job->done(job); /* may free the job and submit others */
}

bool disk_thread_drain(struct disk_thread *disk)
{
    /* Until it is empty: only then is there a wake for the next. */
    bool any = false;
    struct executor_job *job;
    while ((job = queue_pop(&disk->done)) != NULL) {
        finish(disk, job);
        any = true;
    }
    return any;
}

void disk_thread_stop(struct disk_thread *disk)
{
    if (disk == NULL) {
        return;
    }
    while (disk->under_way > 0) {
        finish(disk, queue_wait(&disk->done));
    }
    queue_end(&disk->todo);
    pthread_join(disk->thread, NULL);
    disk_thread_free(disk);
}
