/* The session under which this process proposes (sessions.h): taken at the first command, opened by
 * an entry that goes ahead of it, replaced when it was idle for so long that it may have expired.
 */
#include <string.h>

#include "node/node_internal.h"
#include "wire/writer.h"

/* opened_ms: what this process takes for the time that the log has reached. */
static void begin(struct node *n, int64_t opened_ms)
{
    struct proposals *p = &n->proposals;
    entropy_fill(n->ports.entropy, p->session, sizeof p->session);
    p->session[0] |= 1; /* never all zero */
    p->opened_ms = opened_ms > 0 ? opened_ms : 1;
    p->used_ms = clock_wall_ms(n->ports.clock);
    p->next_seq = 1;
    p->ring_low = 1;
    p->open = false;
    p->opening_sent = false;
}

void own_session_use(struct node *n)
{
    struct proposals *p = &n->proposals;
    int64_t wall_ms = clock_wall_ms(n->ports.clock);
    bool stale = wall_ms - p->used_ms > n->sessions.ttl_ms / 4;
    if (p->opened_ms == 0 || (stale && p->ring_low == p->next_seq)) {
        begin(n, wall_ms > n->log_time_ms ? wall_ms : n->log_time_ms);
    }
    p->used_ms = wall_ms;
}

/* The session was refused: nothing of it that is still pending was, or ever will be, applied. All
 * of it begins again under a new one, opened at the time of the entry that was refused: the clock
 * of this node may be the one that is wrong. */
void own_session_replace(struct node *n)
{
    struct proposals *p = &n->proposals;
    log_info(n->ports.log, "the session of this node has expired; taking another");
    TAILQ_CONCAT(&p->sent, &p->queued, link);
    TAILQ_CONCAT(&p->queued, &p->sent, link);
    if (p->ring != NULL) {
        memset(p->ring, 0, p->ring_capacity * sizeof *p->ring);
    }
    begin(n, n->log_time_ms);
    struct pending *x;
    TAILQ_FOREACH (x, &p->queued, link) {
        x->sent = false;
        if (!x->keyed) {
            x->sends = 0;
            pending_number(p, x);
        }
    }
    node_want_round(n);
}

bool own_session_needs_opening(const struct node *n)
{
    const struct proposals *p = &n->proposals;
    return p->opened_ms != 0 && !p->open && !p->opening_sent;
}

void own_session_encode_opening(struct node *n, int64_t time_ms, struct buffer *out)
{
    struct proposals *p = &n->proposals;
    struct buffer payload = {0};
    write_i64(&payload, p->opened_ms);
    struct entry e = {.kind = ENTRY_SESSION, .time_ms = time_ms, .payload = buffer_bytes(&payload)};
    memcpy(e.session, p->session, sizeof e.session);
    entry_encode(&e, out);
    buffer_close(&payload);
}
