/* What people and machines see of a node: the status map. */
#include <stdio.h>
#include <string.h>

#include "node/node_internal.h"
#include "wire/writer.h"

/* Where clients reach a member; "" if it is not known. */
static const char *client_address(struct node *n, raft_id id)
{
    if (id == n->id) {
        return n->client_address;
    }
    const struct outlet *o = sender_outlet(n, id);
    return o != NULL ? o->client_address : "";
}

/* The same for HTTP. */
static const char *http_address(struct node *n, raft_id id)
{
    if (id == n->id) {
        return n->http_address;
    }
    const struct outlet *o = sender_outlet(n, id);
    return o != NULL ? o->http_address : "";
}

const char *node_leader_http_address(struct node *n)
{
    const char *address = http_address(n, raft_leader(n->raft));
    return address[0] != 0 ? address : NULL;
}

const char *status_leader_client_address(struct node *n)
{
    const char *address = client_address(n, raft_leader(n->raft));
    return address[0] != 0 ? address : NULL;
}

static const char *progress_name(enum raft_progress_mode mode)
{
    switch (mode) {
    case RAFT_PROBE:
        return "probe";
    case RAFT_REPLICATE:
        return "replicate";
    case RAFT_SNAPSHOT:
        break;
    }
    return "snapshot";
}

void status_members(struct node *n, struct buffer *out)
{
    const struct membership *members = members_now(n);
    write_array(out, members->count);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct membership_member *m = &members->at[i];
        write_map(out, 5);
        write_text_field(out, "id", m->name);
        write_text_field(out, "peer", m->address);
        write_text_field(out, "client", client_address(n, m->id));
        write_text_field(out, "http", http_address(n, m->id));
        write_bool_field(out, "voter", m->voter);
    }
}

static void put_u64_or_nil(struct buffer *out, const char *key, bool known, uint64_t value)
{
    write_text(out, key);
    if (known) {
        write_u64(out, value);
    } else {
        write_nil(out);
    }
}

/* How far a peer is, only its leader knows. The round trip of appends is the leader's too; else
 * that of the link's pings, once one was answered. */
static void put_peers(struct node *n, struct buffer *out, const struct raft_status *s)
{
    bool leads = s->role == RAFT_LEADER;
    write_text(out, "peers");
    write_array(out, s->peers_count);
    for (uint32_t i = 0; i < s->peers_count; i++) {
        const struct raft_peer_status *p = &s->peers[i];
        const struct outlet *o = sender_outlet(n, p->id);
        uint64_t round_trip_us = leads && p->round_trip_us > 0
                                     ? p->round_trip_us
                                     : transport_round_trip_us(n->ports.transport, p->id);
        write_map(out, 7);
        write_text_field(out, "id", members_name(n, p->id));
        put_u64_or_nil(out, "match", leads, p->match);
        put_u64_or_nil(out, "next", leads, p->next);
        put_u64_or_nil(out, "lag", leads, s->last.index > p->match ? s->last.index - p->match : 0);
        put_u64_or_nil(out, "rtt_us", round_trip_us > 0, round_trip_us);
        write_text(out, "mode");
        if (leads) {
            write_text(out, progress_name(p->mode));
        } else {
            write_nil(out);
        }
        write_bool_field(out, "online", o != NULL && o->up);
    }
}

static void put_state(struct node *n, struct buffer *out)
{
    struct state_hash hash = state_hash(n->state);
    char text[33];
    snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)hash.hi,
             (unsigned long long)hash.lo);
    write_text(out, "state");
    write_map(out, 3);
    write_u64_field(out, "entries", state_count(n->state));
    write_u64_field(out, "bytes", state_bytes(n->state));
    write_text_field(out, "hash", text);
}

static void put_disk(struct node *n, struct buffer *out)
{
    struct store_status disk;
    store_status(n->store, &disk);
    write_text(out, "disk");
    write_map(out, 6);
    write_u64_field(out, "batches", disk.batches);
    write_u64_field(out, "writes", disk.writes);
    write_u64_field(out, "bytes", disk.bytes);
    write_u64_field(out, "queued", disk.queued_writes);
    write_bool_field(out, "full", disk.full);
    write_bool_field(out, "failed", disk.failed);
}

/* age_ms: since the last entry that it holds was proposed. */
static void put_snapshot(struct node *n, struct buffer *out)
{
    const struct store_snapshot *s = store_snapshot(n->store);
    struct snapshot_about about;
    uint64_t age_ms = 0;
    if (s->last.index > 0 && snapshot_about_decode(s->about, &about) == ERR_OK) {
        int64_t now_ms = clock_wall_ms(n->ports.clock);
        age_ms = now_ms > about.time_ms ? (uint64_t)(now_ms - about.time_ms) : 0;
    }
    write_text(out, "snapshot");
    struct store_status disk;
    store_status(n->store, &disk);
    write_map(out, 8);
    write_u64_field(out, "index", s->last.index);
    write_u64_field(out, "term", s->last.term);
    write_u64_field(out, "bytes", s->bytes);
    write_u64_field(out, "age_ms", age_ms);
    write_bool_field(out, "saving", n->snapshot_take.saving);
    write_bool_field(out, "installing", snapshot_install_busy(n));
    write_u64_field(out, "log_begins", n->compacted_index + 1);
    write_u64_field(out, "log_bytes", disk.log_bytes); /* on disk, beyond the snapshot */
}

/* The applications of this node's scripts, as script_host_apps() has them. */
static void put_apps(struct node *n, struct buffer *out)
{
    struct slice apps = {0};
    if (n->scripts != NULL) {
        apps = script_host_apps(n->scripts);
    }
    write_text(out, "apps");
    if (apps.size > 0) {
        write_raw(out, slice_bytes(apps));
    } else {
        write_array(out, 0);
    }
    slice_close(&apps);
}

static uint32_t quorum_of(const struct membership *members)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        voters += members->at[i].voter;
    }
    return voters / 2 + 1;
}

const struct node_counters *node_counters(const struct node *n)
{
    return &n->counters;
}

uint64_t node_pending(const struct node *n)
{
    return n->proposals.count + n->reads.count;
}

void node_status(struct node *n, struct buffer *out)
{
    uint64_t now = node_now(n);
    raft_status(n->raft, &n->status);
    const struct raft_status *s = &n->status;
    uint64_t lease_us = s->lease_until_us > now ? s->lease_until_us - now : 0;

    write_map(out, 23);
    write_text_field(out, "id", n->name);
    const char *address = members_address(n, n->id);
    write_text_field(out, "addr",
                     address[0] != 0 ? address : n->peer_address); /* it waits to be added */
    write_text_field(out, "client", n->client_address);
    write_text_field(out, "cluster", n->cluster);
    write_text_field(out, "version", MK_VERSION);
    write_u64_field(out, "uptime_ms", (now - n->started_us) / 1000);
    write_text_field(out, "role", raft_role_name(s->role));
    write_u64_field(out, "term", s->durable_term);
    write_text_field(out, "leader", members_name(n, s->leader));
    write_text_field(out, "leader_addr", client_address(n, s->leader));
    write_u64_field(out, "commit_index", s->commit_index);
    write_u64_field(out, "last_applied", n->apply.last_applied);
    write_u64_field(out, "last_index", s->last.index);
    write_u64_field(out, "quorum", quorum_of(members_now(n)));
    write_u64_field(out, "lease_remaining_ms", lease_us / 1000);
    write_u64_field(out, "leader_silence_max_us", silence_longest_us(n));
    write_u64_field(out, "pending", node_pending(n));
    write_text(out, "members");
    status_members(n, out);
    put_peers(n, out, s);
    put_state(n, out);
    put_disk(n, out);
    put_snapshot(n, out);
    put_apps(n, out);
}
