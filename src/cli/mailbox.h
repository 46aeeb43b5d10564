/* Answers on their way back to the loop: of what its parts have asked the script host, which
 * answers on a thread of its own, and may do so when who asked is gone.
 *
 * A question carries a letter in its own struct, and passes to the other thread with it. Whoever
 * has the letter may free it: the other thread until mailbox_put(), where that says so, then
 * take(). */
#ifndef MK_CLI_MAILBOX_H
#define MK_CLI_MAILBOX_H

#include <stdbool.h>
#include <sys/queue.h>

#include "net/loop.h"

struct mailbox;

struct letter {
    LIST_ENTRY(letter) link;
    struct mailbox *to; /* NULL: it is gone, and the question was given up */
};

struct mailbox_callbacks {
    void *ctx;
    /* Both on the loop. The answer is there: the letter is the caller's. */
    void (*take)(void *ctx, struct letter *letter_take);
    /* The mailbox closes, and the other thread still has the letter: say so to who waits. */
    void (*give_up)(void *ctx, struct letter *letter);
};

struct mailbox *mailbox_new(struct loop *loop, const struct mailbox_callbacks *callbacks);
/* Takes what has come, gives up what has not. Accepts NULL. */
void mailbox_free(struct mailbox *m);
/* Before the question is asked. */
void mailbox_expect(struct mailbox *m, struct letter *letter);
/* It was not asked after all. */
void mailbox_forget(struct letter *letter);
/* On the other thread; on the loop, once the mailbox is gone. False: nobody waits any more, the
 * letter stays the caller's. */
bool mailbox_put(struct letter *letter);

#endif
