#include "scenario/link_rules.h"

#include "wire/raft_codec.h"
#include "wire/reader.h"

void link_rules_init(struct link_rules *r, const struct link_quality *quality, uint64_t seed)
{
    *r = (struct link_rules){.quality = *quality};
    rng_seed(&r->rng, seed);
}

/* ---- setting rules -------------------------------------------------------------------------- */

void link_rules_drop(struct link_rules *r, const struct target_drop *rule)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->drops_count; i++) {
        r->drops[i].types &= ~rule->types;
        if (r->drops[i].types != 0) {
            r->drops[kept++] = r->drops[i];
        }
    }
    r->drops_count = kept;
    if (rule->probability > 0 && kept < LINK_RULES_MAX) { /* there are only so many types */
        r->drops[r->drops_count++] = *rule;
    }
}

void link_rules_delay(struct link_rules *r, const struct target_delay *rule)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->delays_count; i++) {
        r->delays[i].types &= ~rule->types;
        if (r->delays[i].types != 0) {
            r->delays[kept++] = r->delays[i];
        }
    }
    r->delays_count = kept;
    if (rule->probability > 0 && kept < LINK_RULES_MAX) {
        r->delays[r->delays_count++] = *rule;
    }
}

void link_rules_heal(struct link_rules *r)
{
    r->drops_count = r->delays_count = 0;
}

/* ---- deciding ------------------------------------------------------------------------------- */

static uint64_t draw(struct link_rules *r, uint64_t min_us, uint64_t max_us)
{
    return min_us >= max_us ? min_us : rng_range(&r->rng, min_us, max_us + 1);
}

static bool is_dropped(struct link_rules *r, unsigned type)
{
    if (r->quality.loss > 0 && rng_chance(&r->rng, r->quality.loss)) {
        return true;
    }
    for (uint32_t i = 0; i < r->drops_count; i++) {
        struct target_drop *rule = &r->drops[i];
        if ((rule->types & type) == 0 || !rng_chance(&r->rng, rule->probability)) {
            continue;
        }
        if (rule->count > 0 && --rule->count == 0) {
            r->drops[i] = r->drops[--r->drops_count];
        }
        return true;
    }
    return false;
}

struct link_travel link_rules_plain(struct link_rules *r)
{
    const struct link_quality *q = &r->quality;
    return (struct link_travel){.delay_us = draw(r, q->latency_min_us, q->latency_max_us)};
}

static struct link_travel travel(struct link_rules *r, unsigned type)
{
    const struct link_quality *q = &r->quality;
    struct link_travel t = link_rules_plain(r);
    for (uint32_t i = 0; i < r->delays_count; i++) {
        const struct target_delay *rule = &r->delays[i];
        if ((rule->types & type) != 0 && rng_chance(&r->rng, rule->probability)) {
            t.delay_us = draw(r, rule->min_us, rule->max_us);
            /* A rule for some of the frames is there to have them overtaken. */
            t.stream = rule->probability >= 1 ? (int)i + 1 : LINK_UNORDERED;
        }
    }
    if (q->reorder > 0 && rng_chance(&r->rng, q->reorder)) {
        t.delay_us += draw(r, q->reorder_min_us, q->reorder_max_us);
        t.stream = LINK_UNORDERED;
    }
    return t;
}

uint32_t link_rules_decide(struct link_rules *r, enum target_message type,
                           struct link_travel out[LINK_COPIES_MAX])
{
    if (is_dropped(r, type)) {
        return 0;
    }
    out[0] = travel(r, type);
    if (r->quality.duplicate <= 0 || !rng_chance(&r->rng, r->quality.duplicate)) {
        return 1;
    }
    out[1] = travel(r, type);
    out[1].stream = LINK_UNORDERED;
    return 2;
}

/* ---- looking into frames -------------------------------------------------------------------- */

enum target_message link_message_of(struct bytes frame)
{
    static const enum target_message types[] = {
        [RAFT_MESSAGE_APPEND] = TARGET_APPEND,
        [RAFT_MESSAGE_APPEND_REPLY] = TARGET_APPEND_REPLY,
        [RAFT_MESSAGE_VOTE] = TARGET_VOTE,
        [RAFT_MESSAGE_VOTE_REPLY] = TARGET_VOTE_REPLY,
        [RAFT_MESSAGE_TIMEOUT_NOW] = TARGET_TIMEOUT_NOW,
        [RAFT_MESSAGE_INSTALL_SNAPSHOT] = TARGET_SNAPSHOT,
        [RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY] = TARGET_SNAPSHOT_REPLY,
    };
    if (peer_frame_of(frame) != PEER_FRAME_RAFT) {
        return TARGET_OTHER;
    }
    struct reader r = reader_of(frame);
    read_array(&r);
    uint64_t type = read_u64(&r) - RAFT_WIRE_TYPE_BASE;
    return r.err == ERR_OK && type < sizeof types / sizeof types[0] ? types[type] : TARGET_OTHER;
}
