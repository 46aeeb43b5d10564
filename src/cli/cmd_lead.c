/* moonkeeper lead: run a program while a node leads. The node is asked again and again whether it
 * does, and says for how long that is certain (src/node/lending.c). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/hold.h"
#include "cli/view.h"
#include "net/system_entropy.h"
#include "wire/writer.h"

enum {
    STOP_MS = 5000,
    LOOK_US = 50000,     /* how often one asks that waits */
    RELEASE_US = 500000, /* what is not given back ends by itself */
    NAME_BYTES = 128,
};

struct lead {
    struct hold hold;
    uint64_t holder; /* our number */
    uint64_t wait_until_us;
    uint64_t term;
    char node[NAME_BYTES], leader[NAME_BYTES];
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Ask once more. *leads: it does, for the token that we hold, if we hold one. */
static enum err ask(struct lead *l, bool done, uint64_t deadline_us, bool *leads, struct why *why)
{
    struct hold *h = &l->hold;
    struct buffer params = {0}, result = {0};
    uint64_t asked_us = 0;
    write_array(&params, done ? 2 : 1);
    write_u64(&params, l->holder);
    if (done) {
        write_text(&params, "done");
    }
    enum err e =
        steady_call(h->steady, "lead", buffer_bytes(&params), deadline_us, &result, &asked_us, why);
    struct bytes answer = buffer_bytes(&result);
    uint64_t token = e == ERR_OK ? view_u64(answer, "token") : 0;
    *leads = e == ERR_OK && view_bool(answer, "leads") && (h->token == 0 || h->token == token);
    if (*leads) {
        uint64_t for_us = view_u64(answer, "for_us");
        h->token = token;
        h->until_us = asked_us + for_us;
        h->next_us = asked_us + for_us / 4;
        h->state = view_bool(answer, "ending") ? HOLD_ENDING : HOLD_HELD;
        l->term = view_u64(answer, "term");
    }
    if (e == ERR_OK) {
        view_text(answer, "node", l->node, sizeof l->node);
        view_text(answer, "leader", l->leader, sizeof l->leader);
    }
    buffer_close(&params);
    buffer_close(&result);
    return e;
}

static void keep(struct hold *h)
{
    struct lead *l = (struct lead *)h;
    struct why why = {""};
    bool leads;
    enum err e = ask(l, false, h->until_us, &leads, &why);
    if (e == ERR_OK && !leads) {
        h->state = HOLD_LOST;
    } else if (e != ERR_OK && e != ERR_CANCELLED) {
        h->next_us = h->until_us; /* it was asked until then */
    }
}

static enum err not_the_leader(const struct lead *l, struct why *why)
{
    return l->leader[0] != 0
               ? err_why(why, ERR_NOT_LEADER, "%s does not lead, %s does", l->node, l->leader)
               : err_why(why, ERR_NOT_LEADER, "%s does not lead, and nobody else does", l->node);
}

static enum err acquire(struct hold *h, struct why *why)
{
    struct lead *l = (struct lead *)h;
    bool leads = false;
    uint64_t asked_until_us = steady_now_us() + h->cli->timeout_ms * 1000;
    enum err e = ask(l, false, asked_until_us, &leads, why);
    while (!leads || h->state != HOLD_HELD) {
        h->token = 0;
        uint64_t now_us = steady_now_us();
        if (e != ERR_OK && !steady_passes(e)) {
            return e;
        }
        if (e != ERR_OK && l->node[0] == 0) {
            return e; /* it has never been there */
        }
        if (now_us >= l->wait_until_us) {
            return e != ERR_OK ? e : not_the_leader(l, why);
        }
        if (!steady_sleep(h->steady, min_u64(now_us + LOOK_US, l->wait_until_us))) {
            return err_why(why, ERR_CANCELLED, "it was given up");
        }
        if (steady_now_us() >= l->wait_until_us) {
            continue; /* the last answer stands */
        }
        e = ask(l, false, min_u64(l->wait_until_us, steady_now_us() + h->cli->timeout_ms * 1000),
                &leads, why);
    }
    hold_set(h, "MOONKEEPER_NODE", l->node);
    hold_set_u64(h, "MOONKEEPER_TERM", l->term);
    hold_set_u64(h, "MOONKEEPER_FENCE", h->token);
    return ERR_OK;
}

static void release(struct hold *h)
{
    struct lead *l = (struct lead *)h;
    struct why why = {""};
    bool leads;
    if (h->token != 0 && steady_now_us() < h->until_us) {
        ask(l, true, steady_now_us() + RELEASE_US, &leads, &why);
    }
}

int cmd_lead(struct cli *cli, int argc, char **argv)
{
    const char *wait = NULL, *stop = NULL;
    const struct flag flags[] = {
        {"wait", 0, "TIME", "how long to wait for it to lead; 0: not at all (for ever)", &wait,
         NULL},
        {"stop", 0, "TIME", "between SIGTERM and SIGKILL, on a planned hand-over (5s)", &stop,
         NULL},
    };
    const struct usage usage = {
        .synopsis = "lead [-- COMMAND ...]",
        .about =
            "Wait until the node at --endpoints leads, and run COMMAND, with the fencing token in\n"
            "MOONKEEPER_FENCE. Exits with the code of COMMAND (128 + signal if one ended it), or\n"
            "with 7 when the node leads no longer: then COMMAND, and all that it has started, was\n"
            "ended before another could lead. Exits with 3 when --wait is over.\n"
            "\n"
            "Without COMMAND: prints the token, and lasts until stdin ends.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_max = 4096,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    struct lead l = {.holder = entropy_u64(system_entropy()) | 1};
    uint64_t wait_us = UINT64_MAX;
    l.hold = (struct hold){.cli = cli,
                           .what = "the leadership",
                           .stop_us = STOP_MS * UINT64_C(1000),
                           .acquire = acquire,
                           .keep = keep,
                           .release = release};
    if ((exit_code = hold_duration(cli, "wait", wait, &wait_us)) != EXIT_OK ||
        (exit_code = hold_duration(cli, "stop", stop, &l.hold.stop_us)) != EXIT_OK ||
        (exit_code = client_check_endpoints(cli)) != EXIT_OK) {
        return exit_code;
    }
    if (cli->endpoints != NULL && strchr(cli->endpoints, ',') != NULL) {
        return cli_misuse(cli, "--endpoints names several nodes; lead follows one of them");
    }
    uint64_t now_us = steady_now_us();
    l.wait_until_us = wait_us > UINT64_MAX - now_us ? UINT64_MAX : now_us + wait_us;
    return hold_run(&l.hold, count > 0 ? argv : NULL);
}
