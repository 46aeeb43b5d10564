#include "cli/mailbox.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/queue.h"

enum { LETTERS_MAX = 1 << 16 }; /* more than the listeners and the host take at a time */

struct mailbox {
    struct loop *loop;
    struct mailbox_callbacks callbacks;
    LIST_HEAD(, letter) expected;
    struct queue come;
};

static void some_came(void *ctx)
{
    struct mailbox *m = ctx;
    loop_wake(m->loop);
}

static void drain(void *ctx)
{
    struct mailbox *m = ctx;
    struct letter *letter;
    while ((letter = queue_pop(&m->come)) != NULL) {
        LIST_REMOVE(letter, link);
        m->callbacks.take(m->callbacks.ctx, letter);
    }
}

struct mailbox *mailbox_new(struct loop *loop, const struct mailbox_callbacks *callbacks)
{
    struct mailbox *m = NEW(struct mailbox);
    m->loop = loop;
    m->callbacks = *callbacks;
    LIST_INIT(&m->expected);
    queue_init(&m->come, LETTERS_MAX, some_came, m);
    loop_on_wake(loop, drain, m);
    return m;
}

void mailbox_free(struct mailbox *m)
{
    if (m == NULL) {
        return;
    }
    drain(m);
    struct letter *letter;
    while ((letter = LIST_FIRST(&m->expected)) != NULL) {
        LIST_REMOVE(letter, link);
        m->callbacks.give_up(m->callbacks.ctx, letter);
        letter->to = NULL;
    }
    loop_on_wake_remove(m->loop, drain, m);
    queue_close(&m->come);
    free(m);
}

void mailbox_expect(struct mailbox *m, struct letter *letter)
{
    letter->to = m;
    LIST_INSERT_HEAD(&m->expected, letter, link);
}

void mailbox_forget(struct letter *letter)
{
    LIST_REMOVE(letter, link);
}

bool mailbox_put(struct letter *letter)
{
    if (letter->to == NULL) {
        return false;
    }
    bool queued = queue_push(&letter->to->come, letter);
    ASSERT(queued);
    return true;
}
