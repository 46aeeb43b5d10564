/* Opaque commands: entries that change nothing, for tests of the log itself. */
#include <string.h>

#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

void node_opaque_body(struct bytes command, int64_t time_ms, struct buffer *out)
{
    struct buffer payload = {0};
    write_array(&payload, 2); /* [name, arguments], as every command */
    write_text(&payload, NODE_OPAQUE_MACHINE);
    write_bin(&payload, command);
    const struct entry e = {
        .kind = ENTRY_COMMAND,
        .machine = bytes_of_string(NODE_OPAQUE_MACHINE),
        .time_ms = time_ms,
        .payload = buffer_bytes(&payload),
    };
    entry_encode(&e, out);
    buffer_close(&payload);
}

struct bytes node_opaque_command(const struct entry *e)
{
    if (e->kind != ENTRY_COMMAND || !bytes_is(e->machine, NODE_OPAQUE_MACHINE)) {
        return (struct bytes){0};
    }
    struct reader r = reader_of(e->payload);
    read_array_of(&r, 2);
    read_skip(&r);
    struct bytes command = read_str_or_bin(&r, e->payload.size);
    return reader_end(&r) == ERR_OK ? command : (struct bytes){0};
}

enum err node_submit(struct node *n, struct bytes command, struct raft_pos *at)
{
    if (!node_is_leader(n)) {
        return ERR_NOT_LEADER;
    }
    if (command.size > n->options.proposal_bytes_max) {
        return ERR_TOO_LARGE;
    }
    if (!store_accepts_entries(n->store)) {
        return ERR_NO_SPACE;
    }
    node_follow_leader(n); /* or the machine that ships would come after a first command */
    offer_round(n);        /* what came before goes before */
    if (!TAILQ_EMPTY(&n->proposals.queued) || n->proposals.forwarded_count > 0) {
        return ERR_BUSY;
    }
    struct buffer body = {0};
    node_opaque_body(command, 0, &body);
    proposals_add_forwarded(n, n->id, buffer_bytes(&body));
    buffer_close(&body);
    offer_round(n);
    if (n->proposals.forwarded_count > 0) {
        offer_drop_forwarded(&n->proposals, n->proposals.forwarded_count);
        return ERR_BUSY;
    }
    at->index = raft_last_index(n->raft);
    at->term = raft_current_term(n->raft);
    return ERR_OK;
}

const char *node_entry_kind_name(const struct entry *e)
{
    return node_opaque_command(e).data != NULL ? "opaque" : entry_kind_name(e->kind);
}
