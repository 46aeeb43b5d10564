/* moonkeeper lock: hold a lock of the cluster, and run a program under it. The same locks as
 * mk.lock of scripts: a key lock/NAME/<index> under a lease of one's own; the lowest holds it, and
 * its index is the fencing token. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/hold.h"
#include "cli/view.h"
#include "net/system_entropy.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    TTL_MS = 10000,
    STOP_MS = 5000,
    NAME_MAX_BYTES = 200,
    KEY_MAX_BYTES = NAME_MAX_BYTES + 32,
    INDEX_DIGITS = 16,
    LIST_MAX = 1000,
    ANSWER_GRACE_US = 200000, /* a node has so much less than we wait: its answer has to travel */
    ANSWER_US = 1000000, /* a cluster has so long to answer, however short is waited for the lock */
    NEWS_US = 1000000,   /* a node is asked for news so long at once */
    /* Of news, a waiter follows the first at once, and then so many: it may be about other things.
     */
    LOOK_US = 100000,
    LOOKS_AT_ONCE = 20,
    RELEASE_US = 2000000,
};

struct lock {
    struct hold hold;
    const char *name;
    uint64_t ttl_us;
    uint64_t wait_until_us;
    uint64_t lease;    /* 0: none */
    uint64_t index;    /* of the next entry that is news */
    uint64_t looks_us; /* what was looked at, as if it were LOOK_US apart */
    char prefix[KEY_MAX_BYTES];
    char ticket[KEY_MAX_BYTES]; /* our key; "": none yet */
    char holder[64];            /* who has it, as far as is known */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- asking the kv machine ------------------------------------------------------------------ */

struct question {
    const char *method; /* "propose" or "query" */
    const char *name;
    struct buffer args; /* an encoded map */
    const char *id;     /* of a command that must not be carried out twice; NULL: it may */
    uint64_t index;     /* of a query: answer, from what is applied there, once this is; 0: no */
};

static void write_options(struct buffer *params, const struct question *q, uint64_t timeout_us)
{
    write_map(params, 1u + (q->id != NULL) + 2u * (q->index != 0));
    write_text(params, "timeout_ms");
    write_u64(params, timeout_us / 1000);
    if (q->id != NULL) {
        write_text(params, "id");
        write_text(params, q->id);
    }
    if (q->index != 0) {
        write_text(params, "read");
        write_text(params, "local");
        write_text(params, "index");
        write_u64(params, q->index);
    }
}

static void write_question(struct buffer *params, struct question *q, uint64_t timeout_us)
{
    write_array(params, 4);
    write_text(params, "kv");
    write_text(params, q->name);
    buffer_add_bytes(params, buffer_bytes(&q->args));
    write_options(params, q, timeout_us);
    buffer_close(&q->args);
}

static enum err ask(struct lock *l, struct question *q, uint64_t deadline_us, struct buffer *out,
                    uint64_t *asked_us, struct why *why)
{
    uint64_t now_us = steady_now_us();
    uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
    struct buffer params = {0};
    uint64_t attempt_us = min_u64(left_us, STEADY_ATTEMPT_US);
    write_question(&params, q, attempt_us - min_u64(attempt_us / 4, ANSWER_GRACE_US));
    enum err e = steady_call(l->hold.steady, q->method, buffer_bytes(&params), deadline_us, out,
                             asked_us, why);
    buffer_close(&params);
    return e;
}

/* How long to ask before it is given up that there is a cluster. */
static uint64_t answered_by_us(const struct lock *l)
{
    uint64_t now_us = steady_now_us();
    uint64_t patience_us = now_us + l->hold.cli->timeout_ms * 1000;
    uint64_t wait_us =
        l->wait_until_us < now_us + ANSWER_US ? now_us + ANSWER_US : l->wait_until_us;
    return min_u64(patience_us, wait_us);
}

/* Nine tenths: clocks that differ in rate by less than a tenth cannot make us believe longer than
 * the cluster does. */
static void held_since(struct lock *l, uint64_t asked_us)
{
    l->hold.until_us = asked_us + l->ttl_us - l->ttl_us / 10;
    l->hold.next_us = asked_us + l->ttl_us / 3;
}

static enum err grant(struct lock *l, struct why *why)
{
    struct question q = {.method = "propose", .name = "lease_grant"};
    struct buffer result = {0};
    uint64_t asked_us = 0;
    write_map(&q.args, 1);
    write_text(&q.args, "ttl_ms");
    write_u64(&q.args, l->ttl_us / 1000);
    enum err e = ask(l, &q, answered_by_us(l), &result, &asked_us, why);
    if (e == ERR_OK) {
        l->lease = view_u64(buffer_bytes(&result), "id");
        held_since(l, asked_us);
    }
    buffer_close(&result);
    return e;
}

static void keep(struct hold *h)
{
    struct lock *l = (struct lock *)h;
    struct question q = {.method = "propose", .name = "lease_keep"};
    struct buffer result = {0};
    struct why why = {""};
    uint64_t asked_us = 0;
    write_map(&q.args, 1);
    write_text(&q.args, "id");
    write_u64(&q.args, l->lease);
    uint64_t deadline_us = min_u64(h->until_us, steady_now_us() + l->ttl_us / 3);
    enum err e = ask(l, &q, deadline_us, &result, &asked_us, &why);
    if (e == ERR_OK && view_bool(buffer_bytes(&result), "ended")) {
        h->state = HOLD_LOST;
    } else if (e == ERR_OK) {
        held_since(l, asked_us);
    } else if (e != ERR_CANCELLED) {
        h->next_us = steady_now_us() + l->ttl_us / 30; /* soon again */
    }
    buffer_close(&result);
}

/* ---- waiting for our turn ------------------------------------------------------------------- */

static enum err create_ticket(struct lock *l, struct why *why)
{
    char id[40], host[200] = "?", whose[256];
    snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, entropy_u64(system_entropy()),
             entropy_u64(system_entropy()));
    gethostname(host, sizeof host - 1);
    snprintf(whose, sizeof whose, "%s, process %d", host, (int)getpid());
    struct question q = {.method = "propose", .name = "create", .id = id};
    struct buffer result = {0};
    write_map(&q.args, 3);
    write_text(&q.args, "prefix");
    write_text(&q.args, l->prefix);
    write_text(&q.args, "value");
    write_text(&q.args, whose);
    write_text(&q.args, "lease");
    write_u64(&q.args, l->lease);
    enum err e = ask(l, &q, min_u64(l->hold.until_us, answered_by_us(l)), &result, NULL, why);
    if (e == ERR_OK) {
        view_text(buffer_bytes(&result), "key", l->ticket, sizeof l->ticket);
        l->hold.token = view_u64(buffer_bytes(&result), "index");
        l->index = l->hold.token;
    }
    buffer_close(&result);
    return e;
}

/* Of a lock "a/b" the tickets look like those of "a", up to their length. */
static bool is_ticket(const struct lock *l, const char *key)
{
    return strlen(key) == strlen(l->prefix) + INDEX_DIGITS;
}

/* One page of what is under the prefix: is a ticket before ours among it? *after: where the next
 * page begins; "": there is none that matters. */
static bool is_behind(struct lock *l, struct bytes page, char after[KEY_MAX_BYTES])
{
    struct bytes items = view_get(page, "items");
    char key[KEY_MAX_BYTES] = "";
    for (uint32_t i = 0; i < view_count(items); i++) {
        struct bytes item = view_at(items, i);
        view_text(item, "key", key, sizeof key);
        if (strcmp(key, l->ticket) >= 0) {
            after[0] = 0;
            return false;
        }
        if (is_ticket(l, key)) {
            view_text(item, "value", l->holder, sizeof l->holder);
            return true;
        }
    }
    view_text(page, "next", after, KEY_MAX_BYTES);
    return false;
}

/* Ask a node what is under the prefix as soon as it has applied the next entry. */
static enum err look(struct lock *l, uint64_t wait_us, bool *behind, struct why *why)
{
    char after[KEY_MAX_BYTES] = "";
    enum err e;
    do {
        struct question q = {.method = "query", .name = "list", .index = l->index};
        struct buffer params = {0}, result = {0};
        write_map(&q.args, after[0] != 0 ? 3 : 2);
        write_text(&q.args, "prefix");
        write_text(&q.args, l->prefix);
        write_text(&q.args, "limit");
        write_u64(&q.args, LIST_MAX);
        if (after[0] != 0) {
            write_text(&q.args, "after");
            write_text(&q.args, after);
        }
        write_question(&params, &q, wait_us);
        e = steady_wait(l->hold.steady, q.method, buffer_bytes(&params), wait_us + l->ttl_us / 10,
                        &result, why);
        *behind = e != ERR_OK || is_behind(l, buffer_bytes(&result), after);
        if (e == ERR_OK && *behind) {
            l->index = view_u64(buffer_bytes(&result), "index") + 1;
        }
        buffer_close(&params);
        buffer_close(&result);
    } while (e == ERR_OK && !*behind && after[0] != 0);
    return e;
}

/* Where much is applied that is none of ours, not all of it is worth a look. */
static uint64_t next_look_us(struct lock *l)
{
    uint64_t now_us = steady_now_us(), forgotten_us = LOOKS_AT_ONCE * (uint64_t)LOOK_US;
    if (l->looks_us + forgotten_us < now_us) {
        l->looks_us = now_us - forgotten_us;
    }
    l->looks_us += LOOK_US;
    return l->looks_us;
}

static enum err may_go_on(struct lock *l, struct why *why)
{
    struct hold *h = &l->hold;
    if (steady_now_us() >= l->wait_until_us) {
        return err_why(why, ERR_CONFLICT, "the lock %s is held by %s", l->name,
                       l->holder[0] != 0 ? l->holder : "another");
    }
    if (!steady_sleep(h->steady, min_u64(next_look_us(l), l->wait_until_us))) {
        return err_why(why, ERR_CANCELLED, "it was given up");
    }
    if (steady_now_us() >= h->next_us) {
        keep(h);
    }
    if (h->state == HOLD_LOST || steady_now_us() >= h->until_us) {
        return err_why(why, ERR_FENCED,
                       "the cluster could not be reached for too long while "
                       "waiting for the lock");
    }
    return ERR_OK;
}

static uint64_t news_wait_us(const struct lock *l)
{
    uint64_t now_us = steady_now_us();
    uint64_t until_us = min_u64(min_u64(l->wait_until_us, l->hold.next_us), now_us + NEWS_US);
    return until_us > now_us ? until_us - now_us : 0;
}

static enum err wait_turn(struct lock *l, struct why *why)
{
    bool behind = true;
    enum err e = look(l, ANSWER_US, &behind, why);
    while (e != ERR_OK || behind || steady_now_us() >= l->hold.until_us) {
        if (e != ERR_OK && !steady_passes(e)) {
            return e;
        }
        e = may_go_on(l, why);
        if (e != ERR_OK) {
            return e;
        }
        e = look(l, news_wait_us(l), &behind, why);
    }
    return ERR_OK;
}

static enum err acquire(struct hold *h, struct why *why)
{
    struct lock *l = (struct lock *)h;
    enum err e = grant(l, why);
    if (e == ERR_OK) {
        e = create_ticket(l, why);
    }
    if (e == ERR_OK) {
        e = wait_turn(l, why);
    }
    if (e == ERR_OK) {
        hold_set(h, "MOONKEEPER_LOCK", l->name);
        hold_set_u64(h, "MOONKEEPER_FENCE", h->token);
    }
    return e;
}

static void release(struct hold *h)
{
    struct lock *l = (struct lock *)h;
    if (l->lease == 0) {
        return;
    }
    struct question q = {.method = "propose", .name = "lease_revoke"};
    struct buffer result = {0};
    struct why why = {""};
    write_map(&q.args, 1);
    write_text(&q.args, "id");
    write_u64(&q.args, l->lease);
    /* Where it fails, the lease ends by itself. */
    ask(l, &q, steady_now_us() + RELEASE_US, &result, NULL, &why);
    buffer_close(&result);
}

/* ---- the verb ------------------------------------------------------------------------------- */

int cmd_lock(struct cli *cli, int argc, char **argv)
{
    const char *ttl = NULL, *wait = NULL, *stop = NULL;
    const struct flag flags[] = {
        {"ttl", 0, "TIME", "how long the cluster waits for a holder that it hears nothing of (10s)",
         &ttl, NULL},
        {"wait", 0, "TIME", "how long to wait for the lock; 0: not at all (for ever)", &wait, NULL},
        {"stop", 0, "TIME", "between SIGTERM and SIGKILL, if the lock is lost (5s)", &stop, NULL},
    };
    const struct usage usage = {
        .synopsis = "lock NAME [-- COMMAND ...]",
        .about =
            "Wait for the lock NAME, hold it, and run COMMAND under it, with the fencing token in\n"
            "MOONKEEPER_FENCE. Exits with the code of COMMAND (128 + signal if one ended it), or\n"
            "with 7 when the lock was lost: then COMMAND, and all that it has started, was ended\n"
            "before anybody else could have the lock. Exits with 6 when --wait is over.\n"
            "\n"
            "Without COMMAND: prints the token, and holds the lock until stdin ends.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 1,
        .arguments_max = 4096,
        .before_min = 1,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    struct lock l = {.name = argv[0], .ttl_us = TTL_MS * UINT64_C(1000)};
    char what[NAME_MAX_BYTES + 16];
    uint64_t wait_us = UINT64_MAX;
    l.hold = (struct hold){.cli = cli,
                           .what = what,
                           .stop_us = STOP_MS * UINT64_C(1000),
                           .acquire = acquire,
                           .keep = keep,
                           .release = release};
    if ((exit_code = hold_duration(cli, "ttl", ttl, &l.ttl_us)) != EXIT_OK ||
        (exit_code = hold_duration(cli, "wait", wait, &wait_us)) != EXIT_OK ||
        (exit_code = hold_duration(cli, "stop", stop, &l.hold.stop_us)) != EXIT_OK ||
        (exit_code = client_check_endpoints(cli)) != EXIT_OK) {
        return exit_code;
    }
    if (argv[0][0] == 0 || strlen(argv[0]) > NAME_MAX_BYTES) {
        return cli_misuse(cli, "a lock's name has 1 to %d bytes", NAME_MAX_BYTES);
    }
    if (l.ttl_us < 1000000 || l.ttl_us > UINT64_C(86400000000)) {
        return cli_misuse(cli, "--ttl must be from 1s to 24h");
    }
    uint64_t now_us = steady_now_us();
    l.wait_until_us = wait_us > UINT64_MAX - now_us ? UINT64_MAX : now_us + wait_us;
    snprintf(what, sizeof what, "the lock %s", l.name);
    snprintf(l.prefix, sizeof l.prefix, "lock/%s/", l.name);
    return hold_run(&l.hold, count > 1 ? argv + 1 : NULL);
}
